//! Which part may use what.

use crate::tidy::Violation;
use crate::tidy::tokens::{Token, tokens, without_tests};

/// The only place of user space that talks to the kernel through aya, and that may be unsafe.
const KERNEL: &str = "monitor/src/kernel/";
/// Code that runs in the kernel.
const KERNEL_SIDE: &str = "monitor-ebpf/";
/// The calls of the scenario program that only unsafe code can make.
const SCENARIOS_RAW: &str = "scenarios/src/raw/";
/// The metrics page: a file, and the folder of its parts.
const METRICS: &str = "monitor/src/output/metrics";
/// What is remembered.
const HISTORY: &str = "monitor/src/history/";
/// Stages that are pure: no I/O, no clock.
const PURE: &[&str] = &["inventory", "policy", "registry"];

/// Crates that do I/O, tell the time, or belong behind another wall.
const IMPURE_CRATES: &[&str] = &[
    "axum",
    "env_logger",
    "libc",
    "mio",
    "netlink_sys",
    "procfs",
    "rusqlite",
    "rustix",
    "socket2",
    "tempfile",
    "tokio",
];
/// Modules of std that do I/O or reach the system.
const IMPURE_MODULES: &[&str] = &["env", "fs", "os", "process", "thread"];
/// Types and functions that do I/O wherever they come from.
const IMPURE_NAMES: &[&str] = &[
    "File",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixDatagram",
    "UnixListener",
    "UnixStream",
    "clock_gettime",
    "stderr",
    "stdin",
    "stdout",
];
const PRINTING: &[&str] = &["dbg", "eprint", "eprintln", "print", "println"];

/// Checks one Rust file.
pub(crate) fn check(file: &str, text: &str) -> Vec<Violation> {
    let all = tokens(text);
    let mut violations = Vec::new();
    if !file.starts_with(KERNEL) && !file.starts_with(KERNEL_SIDE) {
        violations.extend(crates(
            file,
            &all,
            &["aya", "aya_log", "aya_obj"],
            "aya is used only in monitor/src/kernel",
        ));
        if !file.starts_with(SCENARIOS_RAW) {
            let used = all.iter().filter(|token| token.text == "unsafe");
            violations.extend(
                used.map(|token| Violation::new(file, token.line, "`unsafe` stands only in monitor/src/kernel")),
            );
        }
    }
    if !file
        .strip_prefix(METRICS)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    {
        let sentence = "prometheus is used only in monitor/src/output/metrics.rs and its folder";
        violations.extend(crates(file, &all, &["prometheus"], sentence));
    }
    if !file.starts_with(HISTORY) {
        violations.extend(crates(
            file,
            &all,
            &["rusqlite"],
            "rusqlite is used only in monitor/src/history",
        ));
    }
    if let Some(stage) = pure_stage(file) {
        violations.extend(impurities(file, stage, &without_tests(&all).0));
    }
    violations
}

/// The pure stage that a file belongs to. Tests of a stage may read files.
fn pure_stage(file: &str) -> Option<&'static str> {
    let below = file.strip_prefix("monitor/src/")?;
    if below.ends_with("/tests.rs") || below.contains("/tests/") {
        return None;
    }
    PURE.iter().copied().find(|stage| {
        below
            .strip_prefix(stage)
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    })
}

/// Uses of crates: a path that starts with the crate's name, or a `use` of it.
fn crates(file: &str, tokens: &[Token], names: &[&str], sentence: &str) -> Vec<Violation> {
    let uses = (0..tokens.len()).filter_map(|index| {
        let token = tokens.get(index)?;
        let before = index
            .checked_sub(1)
            .and_then(|before| tokens.get(before))
            .map_or("", |token| token.text.as_str());
        let after = tokens.get(index + 1).map_or("", |token| token.text.as_str());
        // `crate::x::aya` would be a module of our own; `::aya` at the start of a path is the crate.
        let of_another_path =
            before == "::" && index >= 2 && tokens.get(index - 2).is_some_and(|token| is_word(&token.text));
        let used = (after == "::" && !of_another_path) || before == "use" || before == "crate";
        (used && names.contains(&token.text.as_str())).then(|| Violation::new(file, token.line, sentence))
    });
    uses.collect()
}

fn impurities(file: &str, stage: &str, tokens: &[Token]) -> Vec<Violation> {
    let mut violations = crates(
        file,
        tokens,
        IMPURE_CRATES,
        &format!("{stage} is pure: no crate that does I/O"),
    );
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    for (index, token) in tokens.iter().enumerate() {
        let before = index.checked_sub(1).map_or("", text);
        let word = token.text.as_str();
        if word == "std" && text(index + 1) == "::" {
            let used = segments(tokens.get(index + 2..).unwrap_or_default());
            let impure = used
                .into_iter()
                .filter(|segment| IMPURE_MODULES.contains(&segment.text.as_str()));
            violations.extend(impure.map(|segment| {
                Violation::new(file, segment.line, format!("{stage} is pure: no std::{}", segment.text))
            }));
        } else if (word == "now" && before == "::") || (word == "elapsed" && before == ".") {
            violations.push(Violation::new(
                file,
                token.line,
                format!("{stage} reads no clock: pass the time in"),
            ));
        } else if IMPURE_NAMES.contains(&word) && before != "." {
            violations.push(Violation::new(file, token.line, format!("{stage} is pure: no {word}")));
        } else if PRINTING.contains(&word) && text(index + 1) == "!" {
            violations.push(Violation::new(file, token.line, format!("{stage} is pure: no {word}!")));
        }
    }
    violations
}

/// The first words after `std::`: one, or those of a group, `{fs, io::{self, Read}}`.
fn segments(tokens: &[Token]) -> Vec<&Token> {
    let Some(first) = tokens.first() else { return Vec::new() };
    if first.text != "{" {
        return vec![first];
    }
    let (mut depth, mut at_start, mut found) = (0_usize, false, Vec::new());
    for token in tokens {
        match token.text.as_str() {
            "{" => {
                depth += 1;
                at_start = depth == 1;
            }
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => at_start = depth == 1,
            _ if at_start => {
                found.push(token);
                at_start = false;
            }
            _ => {}
        }
    }
    found
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::check;

    /// The lines that are refused.
    fn refused(file: &str, text: &str) -> Vec<usize> {
        let mut lines: Vec<usize> = check(file, text).into_iter().map(|violation| violation.line).collect();
        lines.dedup();
        lines
    }

    #[test]
    fn aya_outside_the_kernel_module_is_refused() {
        assert_eq!(refused("monitor/src/agent.rs", "\nuse aya::Ebpf;\n"), [2]);
        assert_eq!(refused("monitor/src/agent.rs", "fn f() { ::aya_log::init(); }"), [1]);
        assert_eq!(refused("monitor/tests/kernel/main.rs", "use aya_obj::Object;"), [1]);
        assert_eq!(refused("monitor/src/agent.rs", "use aya as kernel;"), [1]);
    }

    #[test]
    fn rusqlite_outside_the_history_is_refused() {
        let text = "use rusqlite::Connection;";
        assert_eq!(refused("monitor/src/cli/history.rs", text), [1]);
        assert!(refused("monitor/src/history/store.rs", text).is_empty());
    }

    #[test]
    fn aya_inside_the_kernel_module_and_in_the_kernel_is_fine() {
        assert!(refused("monitor/src/kernel/load.rs", "use aya::Ebpf; fn f() { unsafe { g() } }").is_empty());
        assert!(
            refused(
                "monitor-ebpf/src/main.rs",
                "use aya_ebpf::maps::RingBuf; unsafe fn f() {}"
            )
            .is_empty()
        );
    }

    #[test]
    fn unsafe_outside_the_kernel_module_is_refused() {
        assert_eq!(
            refused("monitor/src/identity/process.rs", "fn f() {\n    unsafe { g() }\n}"),
            [2]
        );
        assert_eq!(refused("xtask/src/main.rs", "unsafe fn f() {}"), [1]);
        assert_eq!(refused("scenarios/src/main.rs", "unsafe fn f() {}"), [1]);
        assert!(refused("scenarios/src/raw/ring.rs", "unsafe fn f() {}").is_empty());
        assert_eq!(refused("scenarios/src/raw/ring.rs", "use aya::Ebpf;"), [1]);
        assert!(
            refused(
                "monitor/src/lib.rs",
                "#![forbid(unsafe_code)] // unsafe\nconst S: &str = \"unsafe\";"
            )
            .is_empty()
        );
    }

    #[test]
    fn prometheus_outside_the_metrics_file_is_refused() {
        assert_eq!(refused("monitor/src/output/http.rs", "use prometheus::Registry;"), [1]);
        assert_eq!(
            refused("monitor/src/output/metrics_page.rs", "use prometheus::Registry;"),
            [1]
        );
        assert!(refused("monitor/src/output/metrics.rs", "use prometheus::Registry;").is_empty());
        assert!(refused("monitor/src/output/metrics/counting.rs", "use prometheus::Registry;").is_empty());
    }

    #[test]
    fn a_pure_stage_that_does_io_is_refused() {
        for line in [
            "use std::fs;",
            "use std::{collections::{BTreeMap, BTreeSet}, process};",
            "use std::net::TcpStream;",
            "fn f() { std::fs::read(p); }",
            "use tokio::sync::mpsc;",
            "fn f() { println!(\"\"); }",
            "fn f() { std::env::var(n); }",
            "use std::io::{self, stdout};",
        ] {
            assert_eq!(refused("monitor/src/policy/rules.rs", line), [1], "{line}");
            assert_eq!(refused("monitor/src/registry.rs", line), [1], "{line}");
            assert!(refused("monitor/src/snapshot/proc.rs", line).is_empty(), "{line}");
        }
    }

    #[test]
    fn a_pure_stage_that_reads_a_clock_is_refused() {
        for line in [
            "fn f() { SystemTime::now(); }",
            "fn f() { std::time::Instant::now(); }",
            "fn f(t: Instant) { t.elapsed(); }",
            "fn f() { jiff::Timestamp::now(); }",
        ] {
            assert_eq!(refused("monitor/src/inventory/mod.rs", line), [1], "{line}");
        }
        let passed_in = "use std::time::{Duration, Instant}; fn f(now: Instant) -> u8 { now }";
        assert!(refused("monitor/src/inventory/mod.rs", passed_in).is_empty());
    }

    #[test]
    fn a_pure_stage_may_know_addresses_and_embed_data() {
        let text = "use std::net::{IpAddr, Ipv4Addr};\nuse std::{collections::BTreeMap, fmt};\n\
                    const DATA: &str = include_str!(\"fs\");\nfn f(x: X) { x.stdout; }";
        assert_eq!(refused("monitor/src/registry/mod.rs", text), [0; 0]);
    }

    #[test]
    fn tests_of_a_pure_stage_may_read_files() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert!(refused("monitor/src/policy/mod.rs", text).is_empty());
        assert_eq!(
            refused("monitor/src/policy/mod.rs", &format!("{text}use std::fs;\n")),
            [6]
        );
    }
}
