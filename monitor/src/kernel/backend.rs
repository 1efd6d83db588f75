//! The backends: which one a kernel takes, subject by subject, and what is not seen then.

use std::fmt;

use serde::Serialize;

use super::hooks::Subject;

/// A way to be told by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// BTF trampolines on the kernel's functions (kernels from 5.5 on x86, 6.0 on arm64)
    Fexit,
    /// kprobes and kretprobes on the same functions
    Kprobe,
    /// The raw tracepoint `inet_sock_set_state`, for kernels that take nothing else
    Tracepoint,
}

/// Something that is not seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Situation {
    /// The label of `portreeve_blind_spot`.
    pub name: &'static str,
    /// One sentence for people.
    pub meaning: &'static str,
}

/// How a hook went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookState {
    /// The kernel's function or tracepoint.
    pub hook: &'static str,
    /// What it serves.
    pub subject: Subject,
    /// How it is attached.
    pub backend: Backend,
    /// The symbol that it is attached to, where that is not its name.
    pub symbol: Option<String>,
    /// Why it is not attached.
    pub refusal: Option<String>,
    /// Whether the kernel is without the function, and need not have it.
    pub absent: bool,
}

impl HookState {
    /// Whether it is attached.
    pub fn is_attached(&self) -> bool {
        self.refusal.is_none()
    }

    /// Whether it is not, and there is something to hook.
    pub fn is_missed(&self) -> bool {
        !self.is_attached() && !self.absent
    }
}

/// How the attempt to use a backend ended.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// The backend that was tried.
    pub backend: Backend,
    /// Each hook that was tried.
    pub hooks: Vec<HookState>,
}

impl Attempt {
    /// Whether a hook was refused for want of permission.
    pub fn is_refused_by_policy(&self) -> bool {
        let denied = |hook: &HookState| {
            hook.refusal
                .as_ref()
                .is_some_and(|refusal| refusal.contains("(os error 1)"))
        };
        self.hooks.iter().any(denied)
    }

    /// Whether the backend serves a subject.
    pub fn serves(&self, subject: Subject) -> bool {
        let mut hooks = self.hooks.iter().filter(|hook| hook.subject == subject).peekable();
        hooks.peek().is_some() && !hooks.any(HookState::is_missed)
    }

    /// Whether the backend can be used: it sees listeners.
    pub fn is_attached(&self) -> bool {
        self.serves(Subject::Listens)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Mostly all hooks are refused for one reason, which is said once.
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for hook in self.hooks.iter().filter(|hook| !hook.absent) {
            let Some(refusal) = hook.refusal.as_deref() else {
                continue;
            };
            match reasons.iter_mut().find(|(reason, _)| *reason == refusal) {
                Some((_, hooks)) => hooks.push(hook.hook),
                None => reasons.push((refusal, vec![hook.hook])),
            }
        }
        let reasons: Vec<_> = reasons
            .iter()
            .map(|(reason, hooks)| format!("{}: {reason}", hooks.join(", ")))
            .collect();
        let separator = if reasons.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.backend, reasons.join("; "))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which backend serves each subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The backend: the one that reports listeners.
    pub backend: Backend,
    binds: Option<Backend>,
    connects: Option<Backend>,
    accepts: Option<Backend>,
    /// Whether looks see what listens in every network namespace.
    pub sees_all: bool,
    /// Whether looks see who holds a socket: it is the host's pid namespace.
    pub sees_processes: bool,
}

impl Service {
    /// A backend that serves nothing but listeners so far.
    pub(super) const fn of_listens(backend: Backend) -> Self {
        Self {
            backend,
            binds: None,
            connects: None,
            accepts: None,
            sees_all: true,
            sees_processes: true,
        }
    }

    /// Says who serves a subject.
    pub(super) const fn set(&mut self, subject: Subject, backend: Option<Backend>) {
        match subject {
            Subject::Listens => {}
            Subject::Binds => self.binds = backend,
            Subject::Connects => self.connects = backend,
            Subject::Accepts => self.accepts = backend,
        }
    }

    /// What these attempts, each by itself, make possible: the best backend that sees listeners, and for what it does not
    /// see the best of the others. `None` where nothing sees listeners. Where a backend was asked for, no other helps out.
    pub fn possible(attempts: &[Attempt], asked: Option<Backend>) -> Option<Self> {
        let allowed = |attempt: &&Attempt| asked.is_none_or(|asked| asked == attempt.backend);
        let chosen = attempts.iter().filter(allowed).find(|attempt| attempt.is_attached())?;
        let mut service = Self::of_listens(chosen.backend);
        for subject in Subject::ALL {
            let others = attempts
                .iter()
                .filter(|other| other.backend > chosen.backend && asked.is_none());
            let serving = std::iter::once(chosen)
                .chain(others)
                .find(|attempt| attempt.serves(subject));
            service.set(subject, serving.map(|attempt| attempt.backend));
        }
        Some(service)
    }

    /// Whether binds are seen, and with them UDP sockets and their ends.
    pub const fn sees_binds(&self) -> bool {
        self.sees(Subject::Binds)
    }

    /// Whether a subject is seen at all.
    pub const fn sees(&self, subject: Subject) -> bool {
        match subject {
            Subject::Listens => true,
            Subject::Binds => self.binds.is_some(),
            Subject::Connects => self.connects.is_some(),
            Subject::Accepts => self.accepts.is_some(),
        }
    }

    /// The subjects that another backend serves.
    pub fn helpers(&self) -> Vec<(Subject, Backend)> {
        let served = [
            (Subject::Binds, self.binds),
            (Subject::Connects, self.connects),
            (Subject::Accepts, self.accepts),
        ];
        let helped = served
            .into_iter()
            .filter_map(|(subject, backend)| Some((subject, backend?)));
        helped.filter(|(_, backend)| *backend != self.backend).collect()
    }

    /// What is not seen.
    pub fn blind_spots(&self) -> Vec<Situation> {
        let mut situations = ALWAYS.to_vec();
        if !self.sees_processes {
            situations.push(OTHER_PROCESSES);
        }
        if !self.sees_all {
            situations.push(OTHER_NAMESPACES);
        }
        if self.backend == Backend::Tracepoint {
            situations.extend(LISTENS_BY_TRACEPOINT);
        }
        if self.binds.is_none() {
            situations.extend(WITHOUT_BINDS);
        }
        match self.connects {
            None => situations.push(WITHOUT_CONNECTS),
            Some(Backend::Tracepoint) => situations.push(CONNECTS_BY_TRACEPOINT),
            Some(_) => {}
        }
        if self.accepts.is_none() {
            situations.push(WITHOUT_ACCEPTS);
        }
        situations
    }
}

/// Not seen by any backend of this version.
const ALWAYS: &[Situation] = &[
    Situation {
        name: "sctp",
        meaning: "listeners of SCTP are not reported, nor of DCCP and UDP-Lite: of TCP and UDP alone is told",
    },
    Situation {
        name: "refused_before_hook",
        meaning: "a call that an LSM, a cgroup program or an argument check refuses never reaches the hook",
    },
    Situation {
        name: "udp_without_bind",
        meaning: "a UDP socket that gets its port by sending, without bind(), is not reported",
    },
    Situation {
        name: "udp_disconnected",
        meaning: "a bound UDP socket that gives up its peer (connect() to AF_UNSPEC) takes what anybody sends again, which is not reported",
    },
];

const OTHER_PROCESSES: Situation = Situation {
    name: "other_processes",
    meaning: "who holds a socket that was there before the agent is not known of processes outside of its pid namespace",
};

const OTHER_NAMESPACES: Situation = Situation {
    name: "other_namespaces",
    meaning: "what listened in some other network namespaces before the agent started is not known: they may not be looked into",
};

const LISTENS_BY_TRACEPOINT: &[Situation] = &[
    Situation {
        name: "listen_errno",
        meaning: "a listen that fails is seen, its errno is not",
    },
    Situation {
        name: "listen_shutdown_at_once",
        meaning: "of a socket that listens once more, after a shutdown(), and ends before that was confirmed, the result of the second listen is not known",
    },
];

const WITHOUT_BINDS: &[Situation] = &[
    Situation {
        name: "binds",
        meaning: "binds are not reported, also not of watched ports",
    },
    Situation {
        name: "udp",
        meaning: "UDP sockets are not reported as they are bound, connected and closed: only looks, once a minute, tell which are bound",
    },
];

const WITHOUT_CONNECTS: Situation = Situation {
    name: "connects",
    meaning: "connects are not reported, also not to watched ports",
};

const CONNECTS_BY_TRACEPOINT: Situation = Situation {
    name: "connect_not_begun",
    meaning: "a connect that fails before a packet leaves is not seen (no route), or without its errno (no free port)",
};

const WITHOUT_ACCEPTS: Situation = Situation {
    name: "accepts",
    meaning: "accepts are not reported, also not on watched ports",
};

impl Backend {
    /// All backends, best first.
    pub const ALL: &'static [Self] = &[Self::Fexit, Self::Kprobe, Self::Tracepoint];

    /// The name in flags, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(backend: Backend, refused: &[Subject]) -> Attempt {
        let served = match backend {
            Backend::Tracepoint => &[Subject::Listens, Subject::Connects][..],
            _ => &Subject::ALL,
        };
        let hooks = served.iter().map(|subject| HookState {
            hook: "somewhere",
            subject: *subject,
            backend,
            symbol: None,
            refusal: refused.contains(subject).then(|| "no".to_owned()),
            absent: false,
        });
        Attempt {
            backend,
            hooks: hooks.collect(),
        }
    }

    fn names(service: &Service) -> Vec<&'static str> {
        let always = ALWAYS.iter().chain([&OTHER_NAMESPACES]);
        let always: Vec<_> = always.map(|situation| situation.name).collect();
        let names = service.blind_spots().into_iter().map(|situation| situation.name);
        names.filter(|name| !always.contains(name)).collect()
    }

    #[test]
    fn the_best_backend_that_sees_listeners_is_taken_and_others_help_out() {
        let all = [
            attempt(Backend::Fexit, &[Subject::Binds]),
            attempt(Backend::Kprobe, &[]),
            attempt(Backend::Tracepoint, &[]),
        ];
        let service = Service::possible(&all, None).unwrap();
        assert_eq!(
            (service.backend, service.binds),
            (Backend::Fexit, Some(Backend::Kprobe))
        );
        assert!(names(&service).is_empty());
        let alone = Service::possible(&all, Some(Backend::Fexit)).unwrap();
        assert_eq!(names(&alone), ["binds", "udp"]);
    }

    #[test]
    fn a_backend_that_does_not_see_listeners_is_not_taken() {
        let all = [
            attempt(Backend::Fexit, &[Subject::Listens]),
            attempt(Backend::Kprobe, &[Subject::Listens, Subject::Accepts]),
            attempt(Backend::Tracepoint, &[]),
        ];
        let service = Service::possible(&all, None).unwrap();
        assert_eq!(service.backend, Backend::Tracepoint);
        let blind = names(&service);
        assert_eq!(
            blind,
            [
                "listen_errno",
                "listen_shutdown_at_once",
                "binds",
                "udp",
                "connect_not_begun",
                "accepts"
            ]
        );
        assert_eq!(Service::possible(&all, Some(Backend::Kprobe)), None);
    }

    #[test]
    fn a_function_that_a_kernel_need_not_have_is_no_reason_to_refuse() {
        let mut only = attempt(Backend::Fexit, &[Subject::Connects]);
        assert!(!only.serves(Subject::Connects));
        for hook in &mut only.hooks {
            hook.absent = true;
        }
        assert!(only.serves(Subject::Connects));
    }
}
