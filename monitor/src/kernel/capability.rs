//! What this process may do, and what stands in its way: for `doctor` and for errors.

use std::{fs, path::Path};

use crate::exit::UsageError;

/// A capability that the agent uses, and what is lost without it.
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    /// The name of capabilities(7).
    pub name: &'static str,
    number: u32,
    /// Whether nothing works without it.
    pub required: bool,
    /// What it is used for.
    pub purpose: &'static str,
}

/// The capabilities that the agent uses, the needed ones first.
pub const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "CAP_BPF",
        number: 39,
        required: true,
        purpose: "to load programs and maps",
    },
    Capability {
        name: "CAP_PERFMON",
        number: 38,
        required: true,
        purpose: "to attach programs and read kernel memory in them",
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        number: 19,
        required: false,
        purpose: "to read the executable of other users' processes",
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        number: 2,
        required: false,
        purpose: "to read the descriptors of other users' processes",
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        number: 21,
        required: false,
        purpose: "to enter other network namespaces (and, before 5.8, instead of CAP_BPF and CAP_PERFMON)",
    },
];

const SYS_ADMIN: u32 = 21;

/// The effective capabilities of this process.
#[derive(Clone, Copy, Debug)]
pub struct Effective(u64);

impl Effective {
    /// Reads them from `PROCFS/self/status`; none where that cannot be read, which [`check_procfs`] finds before.
    pub fn of_self(procfs: &Path) -> Self {
        let status = fs::read_to_string(procfs.join("self/status")).unwrap_or_default();
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Self(
            set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
                .unwrap_or(0),
        )
    }

    /// Whether this one is held.
    pub fn has(self, capability: &Capability) -> bool {
        self.0 & (1 << capability.number) != 0
    }

    /// Whether what this one is needed for is allowed: CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON.
    pub fn allows(self, capability: &Capability) -> bool {
        self.has(capability) || (capability.required && self.0 & (1 << SYS_ADMIN) != 0)
    }

    /// The needed capabilities that are not held. CAP_SYS_ADMIN stands for both, as the kernel has it.
    pub fn missing(self) -> Vec<&'static Capability> {
        CAPABILITIES
            .iter()
            .filter(|capability| capability.required && !self.allows(capability))
            .collect()
    }
}

/// Whether there is a procfs at this path, which has this process in it.
///
/// # Errors
/// [`UsageError`] where there is none.
pub fn check_procfs(procfs: &Path) -> Result<(), UsageError> {
    let status = procfs.join("self/status");
    let why = match fs::read_to_string(&status) {
        Ok(text) if text.contains("CapEff:") => return Ok(()),
        Ok(_) => format!("{} is something else", status.display()),
        Err(error) => format!("cannot read {}: {error}", status.display()),
    };
    Err(UsageError(format!(
        "--path.procfs: {} is no procfs: {why}",
        procfs.display()
    )))
}

/// The mode of kernel lockdown: `none`, `integrity` or `confidentiality`; `None` where the kernel has none.
pub fn lockdown(sysfs: &Path) -> Option<String> {
    let text = fs::read_to_string(sysfs.join("kernel/security/lockdown")).ok()?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// The `hidepid` option of the procfs mount at this path, where it hides other users' processes.
pub fn hidepid(procfs: &Path) -> Option<String> {
    let mounts = fs::read_to_string(procfs.join("self/mounts")).ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, target, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if kind != "proc" || Path::new(target) != procfs {
            return None;
        }
        let value = options.split(',').find_map(|option| option.strip_prefix("hidepid="))?;
        (value != "0" && value != "off").then(|| value.to_owned())
    })
}

/// The limit on locked memory in bytes, where this kernel counts maps against it (before 5.11) and it is a limit.
pub fn memlock() -> Option<u64> {
    if !counts_memlock() {
        return None;
    }
    rustix::process::getrlimit(rustix::process::Resource::Memlock).current
}

/// Whether this kernel counts maps against the limit on locked memory.
pub(super) fn counts_memlock() -> bool {
    release_counts_memlock(&rustix::system::uname().release().to_string_lossy())
}

fn release_counts_memlock(release: &str) -> bool {
    let mut numbers = release
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) < (5, 11))
}

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO` of include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether this process sees the pids that the kernel side reports.
pub fn in_initial_pid_namespace(procfs: &Path) -> bool {
    fs::read_link(procfs.join("self/ns/pid")).is_ok_and(|link| link == Path::new(INITIAL_PID_NAMESPACE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_bpf_and_perfmon_both_are_named_and_sys_admin_stands_for_both() {
        let names = |set| {
            Effective(set)
                .missing()
                .iter()
                .map(|capability| capability.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(0), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(names(1 << 39), ["CAP_PERFMON"]);
        assert!(names(1 << 39 | 1 << 38).is_empty());
        assert!(names(1 << SYS_ADMIN).is_empty());
    }

    #[test]
    fn maps_count_against_memlock_before_5_11() {
        for (release, counts) in [
            ("5.10.0-46-cloud-amd64", true),
            ("5.10.262", true),
            ("4.19.0", true),
            ("5.11.0", false),
            ("6.1.0-56", false),
            ("7.3.4+deb13-cloud-amd64", false),
            ("strange", false),
        ] {
            assert_eq!(release_counts_memlock(release), counts, "{release}");
        }
    }

    #[test]
    fn hidepid_is_read_from_the_mount_of_this_procfs_alone() {
        let folder = std::env::temp_dir().join(format!("portreeve-hidepid-{}", std::process::id()));
        fs::create_dir_all(folder.join("self")).unwrap();
        let write = |text: &str| fs::write(folder.join("self/mounts"), text).unwrap();
        let target = folder.display();
        write(&format!(
            "proc /elsewhere proc rw,hidepid=2 0 0\nproc {target} proc rw,hidepid=invisible 0 0\n"
        ));
        assert_eq!(hidepid(&folder).as_deref(), Some("invisible"));
        write(&format!("proc {target} proc rw,relatime 0 0\n"));
        assert_eq!(hidepid(&folder), None);
        fs::remove_dir_all(&folder).unwrap();
    }
}
