//! What was learned, as a part of a configuration.

use std::collections::BTreeSet;

use jiff::Timestamp;
use toml::Value;

use super::group::{Expectation, Learned, Port};
use crate::policy::Glob;

/// Writes the expectations, with comments on when and how often. `from` says what was looked at, and `is_now` whether that
/// is this host, of which it is known what is open now.
pub fn render(learned: &Learned, from: &str, is_now: bool) -> String {
    let mut text = format!(
        "# Expected listeners, by `portreeve learn` from {}.\n\
         # Read it before you use it: what stands here is told no more.\n\
         # Of ports that it does not name it says nothing. To have a new one told and\n\
         # fail a gate, set default = \"unexpected\" in [policy], or let the gate be\n\
         # `portreeve list --fail-on unruled`.\n",
        comment(from)
    );
    let about = About {
        hosts: learned.hosts.len(),
        is_now,
    };
    for expectation in &learned.expectations {
        text.push('\n');
        let block = block(expectation, &about);
        if expectation.unexpected {
            text.push_str("# Unexpected by the rules. Where it may be, take the marks away:\n");
            block.lines().for_each(|line| text.push_str(&format!("#{line}\n")));
        } else {
            text.push_str(&block);
        }
    }
    if !learned.left_out.is_empty() {
        text.push_str("\n# Left out:\n");
    }
    for left_out in &learned.left_out {
        let process = comment(&left_out.process);
        text.push_str(&format!(
            "# {}/{} ({process}): {}\n",
            left_out.protocol, left_out.port, left_out.reason
        ));
    }
    text
}

fn block(expectation: &Expectation, about: &About) -> String {
    let mut text = String::from("[[expect]]\n");
    let mut line = |key: &str, value: &str| text.push_str(&format!("{key} = {}\n", string(value)));
    line("name", &expectation.name);
    line("exe", &Glob::literal(&expectation.exe));
    if let Some(user) = &expectation.user {
        line("user", user);
    }
    if let Some(unit) = &expectation.unit {
        line("unit", &Glob::literal(unit));
    }
    line("namespace", expectation.namespace);
    if expectation.automatic {
        let protocols: BTreeSet<_> = expectation.ports.iter().map(|port| string(&port.protocol)).collect();
        let protocols: Vec<_> = protocols.into_iter().collect();
        let rules: BTreeSet<_> = expectation
            .ports
            .iter()
            .filter_map(|port| port.rule.as_deref())
            .collect();
        let rules: String = rules
            .into_iter()
            .map(|rule| format!(", rule {}", comment(rule)))
            .collect();
        text.push_str(&format!(
            "protocols = [{}]\nautomatic = true # {} that the kernel chose{rules}\n",
            protocols.join(", "),
            match expectation.ports.len() {
                1 => "a port".to_owned(),
                several => format!("{several} ports"),
            }
        ));
        return text;
    }
    text.push_str("ports = [\n");
    for port in &expectation.ports {
        let item = string(&format!("{}/{}", port.protocol, port.port));
        let seen = seen(port, about);
        if seen.is_empty() {
            text.push_str(&format!("    {item},\n"));
        } else {
            text.push_str(&format!("    {item}, # {seen}\n"));
        }
    }
    text.push_str("]\n");
    text
}

/// What was looked at.
struct About {
    /// How many hosts.
    hosts: usize,
    /// Whether what has no end is open now: a document of another host may be old.
    is_now: bool,
}

/// When and how often, and on how many of the hosts.
fn seen(port: &Port, about: &About) -> String {
    let hosts = about.hosts;
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    let when = match (port.first, port.last) {
        (Some(first), Some(last)) if day(first) == day(last) => day(first),
        (Some(first), Some(last)) => format!("{} to {}", day(first), day(last)),
        (Some(first), None) if about.is_now => format!("open now, since {}", day(first)),
        (Some(first), None) => format!("since {}", day(first)),
        (None, None) if about.is_now => "open now".to_owned(),
        (None, _) => String::new(),
    };
    let times = match port.times {
        Some(1) => "once".to_owned(),
        Some(times) => format!("{times} times"),
        None => String::new(),
    };
    let on = if hosts > 1 {
        format!("seen on {} of {hosts} hosts", port.hosts)
    } else {
        String::new()
    };
    let rule = port.rule.as_ref().map(|rule| format!("rule {}", comment(rule)));
    let parts = [on, when, times, rule.unwrap_or_default()];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// A string of TOML, whatever is in it.
fn string(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// What a comment may hold.
fn comment(text: &str) -> String {
    text.escape_debug().to_string()
}
