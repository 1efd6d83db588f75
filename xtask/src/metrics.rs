//! `cargo xtask metrics`: writes the table of docs/metrics.md from the list that the agent makes its metrics of.

// xtask must not depend on the crate `monitor`.
#[path = "../../monitor/src/output/metrics/catalogue.rs"]
#[allow(unreachable_pub, reason = "it is public in the agent")]
mod catalogue;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use catalogue::{FAMILIES, Family};

/// The page with the table in it.
pub(crate) const PAGE: &str = "docs/metrics.md";

/// The lines around the table.
const BEGIN: &str = "<!-- What follows is written by `cargo xtask metrics`. -->\n";
const END: &str = "<!-- What precedes is written by `cargo xtask metrics`. -->\n";

/// Writes the table into the page below the workspace's `root`.
///
/// # Errors
/// Where the page cannot be read or written, or has no place for the table.
pub(crate) fn write(root: &Path) -> Result<()> {
    let path = root.join(PAGE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let (before, _, after) = parts(&text)
        .with_context(|| format!("{PAGE} has no place for the table: put these lines in it:\n{BEGIN}{END}"))?;
    let text = format!("{before}{BEGIN}{}{END}{after}", table());
    fs::write(&path, text).with_context(|| format!("cannot write {PAGE}"))
}

/// Why the page is not what the catalogue says; `None` where it is.
pub(crate) fn stale(text: &str) -> Option<&'static str> {
    let is_fresh = parts(text).is_some_and(|(_, shown, _)| shown == table());
    (!is_fresh).then_some("its table is not what the agent's catalogue of metrics says: run cargo xtask metrics")
}

/// Whether a metric has a label of this name.
pub(crate) fn has_label(name: &str) -> bool {
    FAMILIES.iter().any(|family| family.labels.contains(&name))
}

/// What stands before the table, the table, and what stands behind it.
fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (table, after) = rest.split_once(END)?;
    Some((before, table, after))
}

fn table() -> String {
    let mut text =
        "\n| Metric | Type | Unit | Labels | The series exist | Help | More |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for family in FAMILIES {
        text.push_str(&row(family));
    }
    text.push('\n');
    text
}

fn row(family: &Family) -> String {
    let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = if labels.is_empty() {
        "none".to_owned()
    } else {
        labels.join(", ")
    };
    format!(
        "| `{}` | {} | {} | {labels} | {} | {} | {} |\n",
        family.name,
        family.kind.name(),
        family.unit,
        family.exists,
        family.help,
        family.more
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_page_with_another_table_is_stale_and_so_is_one_without_any() {
        let page = |table: &str| format!("# Metrics\n{BEGIN}{table}{END}## Labels\n");
        assert_eq!(stale(&page(&table())), None);
        assert!(stale(&page("\n| another |\n")).is_some());
        assert!(stale("# Metrics\n").is_some());
    }

    #[test]
    fn names_and_labels_are_those_of_prometheus_and_of_the_contract() {
        let reserved = [
            "service",
            "namespace",
            "pod",
            "container",
            "node",
            "endpoint",
            "job",
            "instance",
        ];
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len(), "a name twice");
        for family in FAMILIES {
            let is_total = family.name.ends_with("_total");
            assert_eq!(is_total, family.kind == catalogue::Type::Counter, "{}", family.name);
            assert!(
                !family.labels.iter().any(|label| reserved.contains(label)),
                "{}",
                family.name
            );
            assert!(family.help.ends_with('.') && !family.unit.is_empty(), "{}", family.name);
            // A cell that ends early would be another table.
            assert!(!row(family).trim_matches(['|', '\n']).contains("||"), "{}", family.name);
            for unit in ["seconds", "bytes"] {
                let is_in_name = family.name.trim_end_matches("_total").ends_with(unit);
                assert_eq!(is_in_name, family.unit == unit, "{}", family.name);
                assert!(!is_in_name || family.help.contains(unit), "{}", family.name);
            }
        }
    }
}
