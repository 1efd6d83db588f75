//! The `match-proto` lines above the hooks.
//!
//! `/// match-proto:vA.B:FILE:PROTOTYPE` holds for kernels from A.B until the next newer line of the same function;
//! `NAME absent` in the place of the prototype says that there is no such function then. A raw tracepoint is written
//! without a result.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};

/// A kernel's version, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32);

impl Version {
    /// What a text starts with: 6.12 of `6.12.94+deb12-cloud-amd64`.
    pub(crate) fn leading(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.0, self.1)
    }
}

/// One line.
struct Line {
    number: usize,
    since: Version,
    /// `None` where the function is not there.
    prototype: Option<String>,
}

/// The lines of a file by function, and the functions that it hooks.
pub(crate) struct Hooks {
    file: String,
    lines: BTreeMap<String, Vec<Line>>,
    hooked: Vec<(usize, String)>,
}

impl Hooks {
    /// Reads a source file.
    ///
    /// # Errors
    /// Names the line that is not written as it must be.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self> {
        let mut lines: BTreeMap<String, Vec<Line>> = BTreeMap::new();
        let mut hooked = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("/// match-proto:") {
                let (name, line) = parse(number, rest).with_context(|| format!("{file}:{number}"))?;
                lines.entry(name).or_default().push(line);
            }
            let named = line
                .strip_prefix("#[")
                .and_then(|line| line.split_once("function = \"")?.1.split_once('"'));
            if let Some((name, _)) = named {
                hooked.push((number, name.to_owned()));
            }
        }
        if hooked.is_empty() {
            bail!("{file} hooks nothing: are its attributes written in another way now?");
        }
        Ok(Self {
            file: file.to_owned(),
            lines,
            hooked,
        })
    }

    /// Hooks that no line says anything of.
    pub(crate) fn without_line(&self) -> Vec<String> {
        let bare = self.hooked.iter().filter(|(_, name)| !self.lines.contains_key(name));
        bare.map(|(number, name)| {
            format!(
                "{}:{number}: {name} is hooked, and no match-proto line shows it",
                self.file
            )
        })
        .collect()
    }

    /// Compares the lines that hold for a kernel with what it has.
    pub(crate) fn compare(
        &self,
        label: &str,
        version: Version,
        prototype: impl Fn(&str) -> Option<String>,
    ) -> Vec<String> {
        let mut violations = Vec::new();
        for (name, lines) in &self.lines {
            let Some(since) = lines
                .iter()
                .map(|line| line.since)
                .filter(|since| *since <= version)
                .max()
            else {
                continue;
            };
            let found = prototype(name);
            for line in lines
                .iter()
                .filter(|line| line.since == since && line.prototype != found)
            {
                let shown = |prototype: &Option<String>| prototype.clone().unwrap_or_else(|| format!("{name} absent"));
                violations.push(format!(
                    "{}:{}: kernel {label} ({version}) has `{}`, and not `{}` of {since}",
                    self.file,
                    line.number,
                    shown(&found),
                    shown(&line.prototype),
                ));
            }
        }
        violations
    }
}

fn parse(number: usize, rest: &str) -> Result<(String, Line)> {
    let mut parts = rest.splitn(3, ':');
    let (Some(version), Some(_file), Some(prototype)) = (parts.next(), parts.next(), parts.next()) else {
        bail!("write match-proto:vA.B:FILE:PROTOTYPE");
    };
    let since = version
        .strip_prefix('v')
        .and_then(Version::leading)
        .with_context(|| format!("{version} is no version like v5.10"))?;
    let (name, prototype) = match prototype.strip_suffix(" absent") {
        Some(name) => (name, None),
        None => {
            let before = prototype.split('(').next().unwrap_or_default();
            let name = before.rsplit([' ', '*']).next().unwrap_or_default();
            (name, Some(prototype.to_owned()))
        }
    };
    if name.is_empty() {
        bail!("`{}` names no function", prototype.unwrap_or_default());
    }
    Ok((
        name.to_owned(),
        Line {
            number,
            since,
            prototype,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::{Hooks, Version};

    const TEXT: &str = r#"
/// match-proto:v5.10:net/a.c:int started(struct sock *sk, int backlog)
#[fexit(function = "started")]
/// match-proto:v6.1:net/a.c:int started(struct sock *sk)
#[fexit(function = "started")]
/// match-proto:v5.10:net/b.c:later absent
/// match-proto:v6.12:net/b.c:struct sock *later(void)
#[kprobe(function = "later")]
"#;

    fn differences(version: &str, started: &str, later: Option<&str>) -> Vec<String> {
        let hooks = Hooks::parse("main.rs", TEXT).unwrap();
        assert!(hooks.without_line().is_empty());
        hooks.compare("new", Version::leading(version).unwrap(), |name| match name {
            "started" => Some(started.to_owned()),
            _ => later.map(str::to_owned),
        })
    }

    #[test]
    fn the_newest_line_that_is_not_newer_than_the_kernel_holds() {
        let (old, new) = (
            "int started(struct sock *sk, int backlog)",
            "int started(struct sock *sk)",
        );
        let later = Some("struct sock *later(void)");
        assert!(differences("5.10.0-46-cloud-amd64", old, None).is_empty());
        assert!(differences("6.1.0", new, None).is_empty());
        assert!(differences("6.12.117+deb12", new, later).is_empty());
        assert!(differences("7.3", new, later).is_empty());
        assert_eq!(differences("5.4.0", new, None), Vec::<String>::new());
    }

    #[test]
    fn a_difference_names_the_line_the_kernel_and_both_prototypes() {
        let said = differences("6.12.1", "long started(struct sock *sk)", None);
        assert_eq!(
            said,
            [
                "main.rs:7: kernel new (v6.12) has `later absent`, and not `struct sock *later(void)` of v6.12",
                "main.rs:4: kernel new (v6.12) has `long started(struct sock *sk)`, and not `int started(struct sock *sk)` of v6.1",
            ]
        );
    }

    #[test]
    fn what_appears_before_its_time_is_a_difference() {
        let said = differences("6.1", "int started(struct sock *sk)", Some("struct sock *later(void)"));
        assert_eq!(said.len(), 1, "{said:?}");
    }

    #[test]
    fn a_hook_without_a_line_and_a_line_that_is_not_one_are_said() {
        let hooks = Hooks::parse("main.rs", "#[btf_tracepoint(function = \"sched_switch\")]\n").unwrap();
        assert_eq!(hooks.without_line().len(), 1);
        for wrong in [
            "/// match-proto:5.10:net/a.c:int f(void)",
            "/// match-proto:v5.10:int f(void)",
            "/// match-proto:v5.10:net/a.c:(void)",
        ] {
            assert!(Hooks::parse("main.rs", &format!("{wrong}\n{TEXT}")).is_err(), "{wrong}");
        }
        assert!(Hooks::parse("main.rs", "fn nothing() {}").is_err());
    }
}
