//! docs/portreeve.schema.json beside the types that read the configuration.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::{output::schema::violations, policy::RESERVED_LABELS, registry::Meaning};

const README: &str = include_str!("../../../README.md");
const ALERTS: &str = include_str!("../../../docs/alerts.md");
const RULES: &str = include_str!("../../../docs/rules.md");

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../docs/portreeve.schema.json")).unwrap()
}

/// What is known in the place of `zzz`, as the error on it says.
fn known(text: &str) -> BTreeSet<String> {
    let problems = tests::wrong(text);
    let told = problems.iter().find(|problem| problem.contains("`zzz`")).unwrap();
    let lists = ["; known here: ", "; write one of "].map(|words| told.split_once(words));
    let (_, known) = lists.into_iter().flatten().next().unwrap();
    known.split(", ").map(str::to_owned).collect()
}

fn keys(object: &Value) -> BTreeSet<String> {
    object["properties"].as_object().unwrap().keys().cloned().collect()
}

fn words(list: &Value) -> BTreeSet<String> {
    let words = list.as_array().unwrap().iter().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

#[test]
fn the_schema_has_the_keys_and_words_that_the_types_have_and_no_other() {
    let schema = schema();
    assert_eq!(keys(&schema), known("zzz = 1"));
    for (name, section) in schema["properties"].as_object().unwrap() {
        let (header, object) = match &section["items"] {
            Value::Null => (format!("[{name}]"), section),
            items => (format!("[[{name}]]"), items),
        };
        assert_eq!(object["additionalProperties"], Value::Bool(false), "{name}");
        assert_eq!(keys(object), known(&format!("{header}\nzzz = 1")), "{name}");
        for (key, property) in object["properties"].as_object().unwrap() {
            let property = match property["$ref"].as_str() {
                Some(reference) => &schema["$defs"][reference.rsplit('/').next().unwrap()],
                None => property,
            };
            // These two take what is no word, or judge words later.
            if ["automatic", "status"].contains(&key.as_str()) {
                continue;
            }
            if let Value::Array(_) = &property["enum"] {
                let text = format!("{header}\n{key} = \"zzz\"");
                assert_eq!(words(&property["enum"]), known(&text), "{key}");
            }
            if let Value::Array(_) = &property["items"]["enum"] {
                let text = format!("{header}\n{key} = [\"zzz\"]");
                assert_eq!(words(&property["items"]["enum"]), known(&text), "{key}");
            }
        }
    }
    let rule = &schema["properties"]["rule"]["items"]["properties"];
    let all = Meaning::ALL.map(|meaning| meaning.name().to_owned());
    assert_eq!(words(&rule["status"]["items"]["enum"]), BTreeSet::from(all));
    let reserved = RESERVED_LABELS.map(str::to_owned);
    assert_eq!(
        words(&rule["labels"]["propertyNames"]["not"]["enum"]),
        BTreeSet::from(reserved)
    );
}

/// The blocks of TOML in a page.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap())
}

#[test]
fn the_examples_are_right_by_the_schema_and_by_the_agent() {
    let schema = schema();
    let examples: Vec<_> = blocks(README)
        .chain(blocks(RULES))
        .chain(blocks(ALERTS))
        .chain([crate::config::DEFAULT])
        .collect();
    assert!(examples.len() > 3);
    for example in examples {
        let value: Value = serde_json::to_value(toml::from_str::<toml::Table>(example).unwrap()).unwrap();
        assert_eq!(
            violations(&schema, &schema, &value, ""),
            Vec::<String>::new(),
            "{example}"
        );
        let files = tests::files(example).unwrap();
        let registry = files.names().open(Path::new("/nowhere")).registry;
        files
            .resolve(&registry)
            .unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
    let wrong = serde_json::json!({"rule": [{"name": "a", "scope": "all", "prot": 1, "labels": {"team": 1}}]});
    assert_eq!(violations(&schema, &schema, &wrong, "").len(), 4);
}

#[test]
fn the_built_in_configuration_is_what_is_in_force_without_one() {
    let file = tests::files(crate::config::DEFAULT)
        .unwrap()
        .resolve(Registry::embedded())
        .unwrap();
    let without = crate::config::policy_of(&File::default());
    assert_eq!(crate::config::policy_of(&file), without);
    let rest = (file.reconcile, file.max_series, file.privacy, file.state);
    let usual = (crate::config::RECONCILE, crate::config::MAX_SERIES, Privacy::default());
    assert_eq!(rest, (Some(usual.0), Some(usual.1), Some(usual.2), None));
}
