use std::fs;

use super::*;
use crate::{cli::documented, registry::Registry};

fn resolve(text: &str) -> Result<File, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    fs::write(&path, text).unwrap();
    config::gather(&[path]).resolve(Registry::embedded())
}

#[test]
fn a_file_that_is_right_is_told_with_what_it_has() {
    let file = resolve("[[rule]]\nname = \"r\"\nports = [1]\nscope = \"exposed\"\nseverity = \"info\"").unwrap();
    assert!(text_of(&file).ends_with("/p.toml: ok, 1 rule, 0 expectations\n"));
    let remark = config::waiting(&config::policy_of(&file)).unwrap();
    assert!(
        remark.starts_with("silent until there is an [[expect]]: r ("),
        "{remark}"
    );
    let file = resolve("[[expect]]\nports = [22]").unwrap();
    assert_eq!(config::waiting(&config::policy_of(&file)), None);
}

#[test]
fn the_document_has_each_problem_with_its_place() {
    let wrong = document(resolve("[watch]\nports = [0]\n[agent]\nstate = \"x\""), Vec::new());
    let value: serde_json::Value = serde_json::to_value(&wrong).unwrap();
    assert_eq!(value["ok"], false);
    let problems = value["problems"].as_array().unwrap();
    let places: Vec<_> = problems
        .iter()
        .map(|problem| (&problem["line"], &problem["column"]))
        .collect();
    assert_eq!(places, [(&2.into(), &10.into()), (&4.into(), &9.into())]);
    let mut whole = document(resolve(""), vec![String::new()]);
    whole.problems = wrong.problems;
    documented::check("check --json", &print::document(&whole).unwrap(), &[]);
}

#[test]
fn a_file_of_a_receiver_that_cannot_be_read_is_told_beside_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    let text = "[alertmanager]\nurls = [\"https://a:1\"]\nca_file = \"/nowhere/ca.pem\"\ntimeout = \"99h\"\n";
    fs::write(&path, text).unwrap();
    let (outcome, remarks) = examine(&[path], Path::new("/nowhere"));
    let ConfigError(problems) = outcome.unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let [remark] = remarks.as_slice() else {
        panic!("{remarks:?}")
    };
    assert!(
        remark.starts_with("alertmanager/a:1: cannot read /nowhere/ca.pem"),
        "{remark}"
    );
}
