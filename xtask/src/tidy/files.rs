//! Rules for whole files: length, what a manifest must say, and what no committed file may name.

use toml::{Table, Value};

use crate::tidy::Violation;
use crate::tidy::tokens::{tokens, without_tests};

/// A main.rs of this many lines has a subject of its own.
const MAIN_LINES: usize = 60;
/// A file of this many lines has two subjects.
const FILE_LINES: usize = 500;

/// Checks the length of a Rust file. Tests do not count: they may be longer.
pub(crate) fn length(file: &str, text: &str) -> Option<Violation> {
    if file.contains("/tests/") || file.ends_with("/tests.rs") {
        return None;
    }
    let lines = text.lines().count().saturating_sub(without_tests(&tokens(text)).1);
    // The kernel side's main.rs lists every entry point, one line or two each, and can hold nothing else.
    let starts_a_program = file.ends_with("/main.rs") && !file.starts_with("monitor-ebpf/");
    let limit = if starts_a_program { MAIN_LINES } else { FILE_LINES };
    (lines >= limit).then(|| {
        let sentence = format!("{lines} lines without tests, and {limit} are too many: it holds a second subject");
        Violation::new(file, lines, sentence)
    })
}

/// Checks that a crate opts into the workspace's lints.
pub(crate) fn lints(file: &str, manifest: &Table) -> Option<Violation> {
    let opted_in = manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(Value::as_bool);
    (opted_in != Some(true)).then(|| {
        Violation::new(
            file,
            1,
            "the crate does not opt into the workspace's lints ([lints] workspace = true)",
        )
    })
}

/// Checks that a crate depends on nothing but what its own tests need.
pub(crate) fn no_dependencies(file: &str, manifest: &Table) -> Vec<Violation> {
    let mut sections = vec![manifest];
    sections.extend(
        manifest
            .get("target")
            .and_then(Value::as_table)
            .into_iter()
            .flatten()
            .filter_map(|(_, value)| value.as_table()),
    );
    let kinds = ["dependencies", "build-dependencies"];
    let tables = sections
        .into_iter()
        .flat_map(|section| kinds.iter().filter_map(|kind| section.get(*kind)?.as_table()));
    tables
        .flatten()
        .map(|(name, _)| Violation::new(file, 1, format!("it depends on {name}, and must depend on nothing")))
        .collect()
}

/// What no committed file may name.
#[derive(Debug, Default)]
pub(crate) struct Private {
    /// Hosts of package mirrors.
    pub(crate) hosts: Vec<String>,
    /// Folders of this machine, each with a slash at its end.
    pub(crate) folders: Vec<String>,
}

/// Users that examples may have.
const EXAMPLE_USERS: &[&str] = &["alice", "bob", "someone", "user"];

impl Private {
    /// Checks one file, whatever it holds; comments and strings count here.
    pub(crate) fn check(&self, file: &str, text: &str) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let mut refuse = |sentence: &str| violations.push(Violation::new(file, index + 1, sentence));
            if self.hosts.iter().any(|host| line.contains(host.as_str())) {
                refuse("it names the host of a package mirror; take the machine's own");
            }
            if self.folders.iter().any(|folder| names_folder(line, folder)) || names_a_home(line) {
                refuse("it names a folder of one machine");
            }
        }
        violations
    }
}

/// Whether a line holds an absolute path in a folder, and not just a longer path that holds the folder's.
fn names_folder(line: &str, folder: &str) -> bool {
    let starts = line
        .match_indices(folder)
        .map(|(at, _)| line.get(..at).unwrap_or_default());
    starts
        .into_iter()
        .any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || "._-*".contains(c)))
}

/// Whether a line names something in a user's home.
fn names_a_home(line: &str) -> bool {
    let of_a_user = line.split("/home/").skip(1).any(|rest| {
        let user = rest
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
            .next()
            .unwrap_or_default();
        !user.is_empty()
            && rest.strip_prefix(user).is_some_and(|rest| rest.starts_with('/'))
            && !EXAMPLE_USERS.contains(&user)
    });
    // Root's home is the same everywhere; what root keeps hidden in it is not.
    of_a_user || line.contains(concat!("/root", "/."))
}

/// The hosts in a list of URIs, one a line. What is on this machine itself is no mirror.
pub(crate) fn hosts_of(uris: &str) -> Vec<String> {
    let mut hosts: Vec<String> = uris
        .lines()
        .filter_map(|uri| uri.split_once("://")?.1.split('/').next())
        .filter_map(|authority| authority.rsplit('@').next()?.split(':').next())
        .filter(|host| host.contains('.') && !host.starts_with("127."))
        .map(str::to_owned)
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests {
    use super::{Private, hosts_of, length, lints, no_dependencies};

    #[test]
    fn a_long_main_is_refused_before_another_long_file() {
        let sixty = "x\n".repeat(60);
        assert!(length("monitor/src/main.rs", &sixty).is_some());
        assert!(length("monitor/src/main.rs", &"x\n".repeat(59)).is_none());
        assert!(length("monitor-ebpf/src/main.rs", &sixty).is_none());
        assert!(length("monitor/src/agent.rs", &sixty).is_none());
        assert!(length("monitor/src/agent.rs", &"x\n".repeat(500)).is_some());
    }

    #[test]
    fn tests_may_be_longer() {
        let long = "x\n".repeat(600);
        assert!(length("monitor/tests/kernel/cases.rs", &long).is_none());
        assert!(
            length(
                "monitor/src/agent.rs",
                &format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n")
            )
            .is_none()
        );
        assert!(length("monitor/src/agent.rs", &format!("mod body {{\n{long}}}\n")).is_some());
    }

    #[test]
    fn a_crate_that_goes_without_the_lints_is_refused() {
        assert!(lints("a/Cargo.toml", &"[package]\nname = 'a'".parse().unwrap()).is_some());
        assert!(lints("a/Cargo.toml", &"[lints]\nworkspace = false".parse().unwrap()).is_some());
        assert!(lints("a/Cargo.toml", &"[lints]\nworkspace = true".parse().unwrap()).is_none());
    }

    #[test]
    fn a_dependency_of_the_shared_records_is_refused() {
        let refused = |text: &str| no_dependencies("c/Cargo.toml", &text.parse().unwrap()).len();
        assert_eq!(refused("[dependencies]\nlibc = '1'"), 1);
        assert_eq!(refused("[build-dependencies]\ncc = '1'"), 1);
        assert_eq!(refused("[target.'cfg(unix)'.dependencies]\nlibc = '1'"), 1);
        assert_eq!(refused("[dependencies]\n[dev-dependencies]\nproptest = '1'"), 0);
    }

    #[test]
    fn hosts_come_from_the_sources_of_apt() {
        let uris = "http://mirror.example.org/debian/\nhttps://u:p@security.example.org:8080/debian-security/\nfile:///srv/x\nhttp://127.0.0.1:9/debian/\n";
        assert_eq!(hosts_of(uris), ["mirror.example.org", "security.example.org"]);
        assert!(hosts_of("").is_empty());
    }

    #[test]
    fn mirrors_and_homes_are_refused() {
        let private = Private {
            hosts: vec!["mirror.example.org".to_owned()],
            folders: vec!["/elsewhere/clone/".to_owned()],
        };
        let lines = |text: &str| {
            private
                .check("README.md", text)
                .into_iter()
                .map(|found| found.line)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("fine\nsee http://mirror.example.org/x\n"), [2]);
        assert_eq!(lines("/elsewhere/clone/target"), [1]);
        assert_eq!(lines("remapped to \"/elsewhere/clone/x\""), [1]);
        assert!(lines("in below/elsewhere/clone/x and /elsewhere/clones").is_empty());
        assert_eq!(lines(concat!("in /home", "/fred/src")), [1]);
        assert_eq!(lines(concat!("in /root", "/.cargo")), [1]);
        assert!(lines("/home/alice/bin/nc, /home/*/x, /home/, /root, HOME=/root").is_empty());
    }
}
