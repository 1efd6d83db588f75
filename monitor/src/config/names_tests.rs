use std::path::Path;

use super::*;
use crate::{
    config::{File, Files, file::tests::files},
    registry::Registration,
};

fn names(text: &str) -> Names {
    files(text).unwrap().names().clone()
}

fn error_of(text: &str) -> String {
    files(text).err().unwrap().to_string()
}

fn said<'a>(rows: impl Iterator<Item = Registration<'a>>) -> Vec<(&'a str, &'static str)> {
    rows.map(|row| (row.service().unwrap_or_default(), row.authority().as_str()))
        .collect()
}

/// The table that the tests are built with, and the same of another date.
fn table(date: &str) -> Vec<u8> {
    let table: &[u8] = include_bytes!("../../data/registry.bin");
    let own = Registry::embedded().source().date;
    assert_eq!(own.len(), date.len());
    let at = table
        .windows(own.len())
        .rposition(|window| window == own.as_bytes())
        .unwrap();
    let mut table = table.to_vec();
    table[at..at + own.len()].copy_from_slice(date.as_bytes());
    let checksum = crate::registry::checksum(&table[20..]);
    table[12..20].copy_from_slice(&checksum.to_le_bytes());
    table
}

fn with_path(path: &Path) -> Names {
    names(&format!("[registry]\npath = \"{}\"\n", path.display()))
}

#[test]
fn services_of_the_site_are_understood_and_name_ports_in_rules() {
    let text = "
        [[rule]]
        name = \"ours\"
        ports = [\"our-proxy\", \"workers\"]
        severity = \"info\"
        [[service]]
        name = \"our-proxy\"
        port = 19992
        protocol = \"tcp\"
        description = \"the proxy\"
        [[service]]
        name = \"workers\"
        ports = [20000, \"20010-20019\"]
    ";
    let files: Files = files(text).unwrap();
    let chosen = files.names().open(Path::new("/nowhere"));
    assert_eq!(chosen.remarks, [""; 0]);
    let file: File = files.resolve(&chosen.registry).unwrap();
    let ports: Vec<_> = file.rules[0].selector.ports.iter().map(ToString::to_string).collect();
    assert_eq!(
        ports,
        [
            "tcp/19992",
            "tcp/20000",
            "udp/20000",
            "tcp/20010-20019",
            "udp/20010-20019"
        ]
    );
    let registry = &chosen.registry;
    assert_eq!(
        said(registry.registrations(Transport::Tcp, 19_992)),
        [("our-proxy", "site")]
    );
    assert_eq!(said(registry.registrations(Transport::Udp, 19_992)), []);
}

#[test]
fn what_is_wrong_with_a_service_is_said_with_its_line() {
    let service = |keys: &str| format!("[[service]]\nname = \"x\"\n{keys}\n");
    for (text, sentence) in [
        (
            service(""),
            "line 1 column 1: the service `x` needs `port = 8080`, or `ports` with a list of them, and not both",
        ),
        (
            service("port = 1\nports = [2]"),
            "line 1 column 1: the service `x` needs `port = 8080`, or `ports`",
        ),
        (service("ports = []"), "line 1 column 1: the service `x` needs"),
        (
            service("port = 0"),
            "line 3 column 8: `0` is neither a port from 1 to 65535 nor a range such as",
        ),
        (service("port = 65536"), "line 3 column 8: `65536` is neither a port"),
        (service("port = -1"), "line 3 column 8: `-1` is neither a port"),
        (
            service("ports = [1, \"9-3\"]"),
            "line 3 column 13: `9-3` is neither a port",
        ),
        (service("port = \"ssh\""), "line 3 column 8: `ssh` is neither a port"),
        (
            service("port = 1\nprot = \"tcp\""),
            "line 4 column 1: unknown key `prot`; did you mean `port`?",
        ),
        (
            service("port = 1\nprotocol = \"sctp\""),
            "line 4 column 12: `sctp` is not known here; ",
        ),
        (
            service("port = 1\ndescription = \"a\\nb\""),
            "line 4 column 15: the description has control characters",
        ),
        (
            "[[service]]\nname = \"80\"\nport = 1".to_owned(),
            "line 2 column 8: `80` is no name for a service: use letters, digits and - _ . +, with a letter among them, 40 at most",
        ),
        (
            "[[service]]\nport = 1".to_owned(),
            "line 1 column 1: the key `name` is missing here",
        ),
        (
            format!(
                "{}{}",
                service("port = 1"),
                service("ports = [\"1-3\"]\nprotocol = \"udp\"")
            ),
            "line 4 column 1: there is a service `x` on 1/udp already",
        ),
        (
            "[registry]\npath = \"a/b\"".to_owned(),
            "line 2 column 8: [registry] path is `a/b`; write a path that begins with /",
        ),
        (
            "[registry]\npaht = \"/b\"".to_owned(),
            "line 2 column 1: unknown key `paht`; did you mean `path`?",
        ),
    ] {
        let error = error_of(&text);
        assert!(error.starts_with(&format!("p.toml {sentence}")), "{text}\n{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn etc_services_is_read_where_it_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/services"), "ours 19992/tcp # here\nwrong\n").unwrap();
    let asked = names("[registry]\netc_services = true\n");
    let chosen = asked.open(root.path());
    assert_eq!(
        said(chosen.registry.registrations(Transport::Tcp, 19_992)),
        [("ours", "services")]
    );
    assert_eq!(chosen.remarks, [""; 0]);
    let silent = names("").open(root.path());
    assert_eq!(said(silent.registry.registrations(Transport::Tcp, 19_992)), []);
    let gone = asked.open(Path::new("/nowhere"));
    assert_eq!(
        gone.remarks,
        ["cannot take names from /nowhere/etc/services: No such file or directory (os error 2)"]
    );
}

#[test]
fn a_sound_file_that_the_configuration_names_is_used_whatever_its_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.bin");
    for date in ["2026-02-13", "2001-01-01"] {
        fs::write(&path, table(date)).unwrap();
        let chosen = with_path(&path).open(Path::new("/nowhere"));
        assert_eq!(chosen.registry.source().date, date);
        assert_eq!(chosen.file.as_deref(), Some(path.as_path()));
        assert_eq!(chosen.remarks, [""; 0]);
    }
}

#[test]
fn a_file_that_is_not_there_or_not_sound_leads_to_the_built_in_registry_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.bin");
    let sentence_of = || {
        let names = with_path(&path);
        let chosen = names.open(Path::new("/nowhere"));
        assert_eq!(chosen.registry.source(), Registry::embedded().source());
        assert_eq!(chosen.file, None);
        let [remark] = chosen.remarks.as_slice() else {
            panic!("{:?}", chosen.remarks)
        };
        // Whoever runs already keeps what is in use.
        let sentence = names.read(Path::new("/nowhere")).unwrap_err();
        assert_eq!(*remark, format!("{sentence}; the built-in registry is used"));
        sentence.replace(&path.display().to_string(), "FILE")
    };
    assert_eq!(
        sentence_of(),
        "cannot use the registry in FILE: No such file or directory (os error 2)"
    );
    let sound = table("2026-02-13");
    for (content, reason) in [
        (Vec::new(), "shorter than its header"),
        (sound[..sound.len() / 2].to_vec(), "not as long as its header says"),
        (
            b"Service Name,Port Number\r\n".to_vec(),
            "not a portreeve registry table",
        ),
    ] {
        fs::write(&path, content).unwrap();
        let sentence = sentence_of();
        assert!(sentence.contains(reason), "{sentence}");
    }
    let mut damaged = sound;
    damaged[500_000] ^= 1;
    fs::write(&path, damaged).unwrap();
    assert!(sentence_of().contains("its checksum does not fit"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(sentence_of().ends_with("it is no regular file"));
}

#[test]
fn a_file_that_nobody_named_is_used_where_it_is_not_older_than_the_built_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.bin");
    let at = |date: &str| {
        fs::write(&path, table(date)).unwrap();
        Names::default().read_at(&path, Path::new("/nowhere")).unwrap()
    };
    assert_eq!(at("2026-02-13").registry.source().date, "2026-02-13");
    let own = Registry::embedded().source().date;
    assert!(at(own).file.is_some());
    let older = at("2001-01-01");
    assert_eq!((older.registry.source().date, older.file), (own, None));
    assert!(older.remarks[0].contains("older than the built-in one"));
    fs::remove_file(&path).unwrap();
    let gone = Names::default().read_at(&path, Path::new("/nowhere")).unwrap();
    assert_eq!((gone.file, gone.remarks.len()), (None, 0));
}
