//! Files of `deploy/kubernetes` that are made of others, since neither helm nor kustomize reads outside its own folder.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The one place for alerting rules.
const RULES: &str = "deploy/prometheus/portreeve.rules.yaml";
/// The copy that the chart reads.
const OF_THE_CHART: &str = "deploy/kubernetes/chart/files/portreeve.rules.yaml";
/// The copy for kustomize, as an object of the operator's.
const OF_KUSTOMIZE: &str = "deploy/kubernetes/components/prometheus-operator/prometheusrule.yaml";

const HEAD: &str = "\
# Written by `cargo xtask kubernetes` from deploy/prometheus/portreeve.rules.yaml; `tidy` compares the two.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: portreeve
  namespace: portreeve
  labels:
    app.kubernetes.io/name: portreeve
    app.kubernetes.io/instance: portreeve
spec:
";

/// Writes the copies below the workspace's `root`.
///
/// # Errors
/// Where a file cannot be read or written.
pub(crate) fn write(root: &Path) -> Result<()> {
    let rules = fs::read_to_string(root.join(RULES)).with_context(|| format!("cannot read {RULES}"))?;
    for (file, text) in of(&rules) {
        fs::write(root.join(file), text).with_context(|| format!("cannot write {file}"))?;
    }
    Ok(())
}

/// Why a copy is not what it is made of: the file and a sentence. `files` are those of the repository with their texts.
pub(crate) fn stale(files: &[(String, String)]) -> Vec<(&'static str, &'static str)> {
    let text = |name: &str| {
        files
            .iter()
            .find(|(file, _)| file == name)
            .map(|(_, text)| text.as_str())
    };
    let Some(rules) = text(RULES) else {
        return vec![(RULES, "there must be this file")];
    };
    let differing = of(rules)
        .into_iter()
        .filter(|(file, wanted)| text(file) != Some(wanted));
    differing
        .map(|(file, _)| {
            (
                file,
                "it is no copy of the rules in deploy/prometheus: run cargo xtask kubernetes",
            )
        })
        .collect()
}

/// What each copy has to hold.
fn of(rules: &str) -> [(&'static str, String); 2] {
    let mut object = HEAD.to_owned();
    for line in rules.lines() {
        if !line.is_empty() {
            object.push_str("  ");
            object.push_str(line);
        }
        object.push('\n');
    }
    [(OF_THE_CHART, rules.to_owned()), (OF_KUSTOMIZE, object)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_stale_once_the_rules_changed() {
        let files = |rules: &str| {
            let mut files: Vec<_> = of("groups: []\n").map(|(file, text)| (file.to_owned(), text)).into();
            files.push((RULES.to_owned(), rules.to_owned()));
            files
        };
        assert_eq!(stale(&files("groups: []\n")), []);
        let found: Vec<_> = stale(&files("groups: [a]\n")).iter().map(|(file, _)| *file).collect();
        assert_eq!(found, [OF_THE_CHART, OF_KUSTOMIZE]);
        let mut files = files("groups: []\n");
        files.remove(0);
        assert_eq!(stale(&files).len(), 1, "one that is missing");
    }

    #[test]
    fn the_object_has_the_rules_below_spec_without_blanks_at_the_ends_of_lines() {
        let [_, (_, object)] = of("groups:\n\n  - name: a\n");
        assert!(object.ends_with("spec:\n  groups:\n\n    - name: a\n"), "{object}");
    }
}
