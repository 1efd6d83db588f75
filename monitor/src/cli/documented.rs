//! The keys of a JSON document beside the table of them in docs/.

use std::collections::BTreeSet;

use serde_json::Value;

const PAGES: &str = concat!(
    include_str!("../../../docs/registry.md"),
    include_str!("../../../docs/rules.md"),
    include_str!("../../../docs/history.md"),
    include_str!("../../../docs/alerts.md")
);

/// Checks that `schema` is the first key of a document, and that the section with this title has a row for each key and
/// for no other. What lies below the keys `elsewhere` is explained in another place.
pub(super) fn check(title: &str, document: &str, elsewhere: &[&str]) {
    assert!(document.starts_with("{\n  \"schema\": 1,\n"), "{document}");
    let mut real = BTreeSet::new();
    collect(&serde_json::from_str(document).unwrap(), "", elsewhere, &mut real);
    let heading = format!("### `{title}`\n");
    let (_, section) = PAGES
        .split_once(&heading)
        .unwrap_or_else(|| panic!("no section {title}"));
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" |").next());
    let explained: BTreeSet<String> = cells
        .flat_map(|cell| cell.split(", "))
        .map(|key| key.trim_matches('`').to_owned())
        .collect();
    assert_eq!(explained, real, "{title}");
}

/// Keys as `registrations.ports.first`: what is in a list is named as what is in an object.
fn collect(value: &Value, path: &str, elsewhere: &[&str], keys: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, elsewhere, keys)),
        Value::Object(object) => {
            for (key, below) in object {
                let key = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                if !elsewhere.contains(&key.as_str()) {
                    collect(below, &key, elsewhere, keys);
                }
                keys.insert(key);
            }
        }
        _ => {}
    }
}
