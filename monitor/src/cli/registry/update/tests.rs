use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::{cli::documented, registry::Transport};

/// A CSV that is plausible, whose newest date this is.
fn csv(date: &str, rows: usize) -> String {
    let mut text = String::from(
        "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration Date,\
         Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\r\n",
    );
    text.push_str(&format!("ssh,22,tcp,Secure Shell,[A],[B],{date},,[RFC4251],,,\r\n"));
    text.push_str("stun-p3,1992,tcp,,,,,,,,,\r\nipsendmsg,1992,tcp,,,,,,,,,\r\n");
    for number in 3..rows {
        text.push_str(&format!("n{number},,,,,,,,,,,\r\n"));
    }
    text
}

const WHOLE: usize = 14_500;

struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let config = format!("[registry]\npath = \"{}\"\n", host.path("registry.bin").display());
        fs::write(host.path("p.toml"), config).unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn args(&self, content: impl AsRef<[u8]>) -> Args {
        fs::write(self.path("new.csv"), content).unwrap();
        Args {
            file: self.path("new.csv"),
            output: None,
            allow_older: false,
            json: true,
            places: Places {
                config_file: vec![self.path("p.toml")],
                rootfs: PathBuf::from("/nowhere"),
            },
        }
    }

    /// The sentence on why a file is not taken, without the folder's name; what was in use stays.
    fn refusal(&self, args: &Args) -> String {
        let before = fs::read(self.path("registry.bin")).ok();
        let error = format!("{:#}", run(args).unwrap_err());
        assert_eq!(fs::read(self.path("registry.bin")).ok(), before);
        assert!(!error.contains('\n'), "{error}");
        error.replace(&self.folder.path().display().to_string(), "FOLDER")
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_newer_file_takes_the_place_of_the_registry_and_says_where_it_comes_from() {
    let host = Host::new();
    run(&host.args(csv("2026-02-13", WHOLE))).unwrap();
    let chosen = host.args("").places.names().unwrap().open(Path::new("/nowhere"));
    let source = chosen.registry.source();
    assert_eq!((source.name, source.date), ("new.csv", "2026-02-13"));
    assert_eq!(source.sha256.len(), 64);
    assert_eq!(chosen.registry.records(), WHOLE);
    assert_eq!(
        chosen.registry.names(Transport::Tcp, 1992).collect::<Vec<_>>(),
        ["stun-p3", "ipsendmsg"]
    );
    assert_eq!(host.files(), ["new.csv", "p.toml", "registry.bin"]);
    let mode = fs::metadata(host.path("registry.bin")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn what_is_cut_wrong_older_or_too_large_is_refused_and_nothing_is_left_behind() {
    let host = Host::new();
    run(&host.args(csv("2026-02-13", WHOLE))).unwrap();
    let whole = csv("2026-03-01", WHOLE);
    let cut = &whole[..whole.len() - 4];
    for (content, reason) in [
        (String::new(), "cannot take FOLDER/new.csv: the file is empty"),
        (
            cut.to_owned(),
            "cannot read the row at line 14501: the file does not end",
        ),
        (
            whole.replacen("Port", "Prot", 1),
            "it is neither IANA's CSV, whose first columns are",
        ),
        (
            csv("2026-03-01", 11_000),
            "it has 11000 rows, and IANA's registry has had more than 12000",
        ),
        (whole.replacen("ssh,22", "shh,22", 1), "22/tcp is not ssh in it"),
        (
            whole.replacen("ipsendmsg,1992", "ipsendmsg,1993", 1),
            "1992/tcp has 1 name in it instead of two",
        ),
        (
            csv("2026-01-01", WHOLE),
            "its newest date is 2026-01-01, and the registry in use is of 2026-02-13",
        ),
        (
            csv("2026-03-01", 13_000),
            "it has 13000 rows, and the registry in use has 14500: it was cut",
        ),
        (csv("2099-01-01", WHOLE), "its newest date is 2099-01-01, and today is "),
        ("x".repeat(17 << 20), "it is larger than 16 MiB"),
    ] {
        let refusal = host.refusal(&host.args(content));
        assert!(refusal.starts_with("cannot take FOLDER/new.csv: "), "{refusal}");
        assert!(refusal.contains(reason), "{refusal}");
    }
    assert_eq!(host.files(), ["new.csv", "p.toml", "registry.bin"]);
    let older = Args {
        allow_older: true,
        ..host.args(csv("2026-01-01", 13_000))
    };
    run(&older).unwrap();
}

#[test]
fn tomorrow_is_taken_and_the_day_after_is_refused() {
    let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let verdict = |date: &str| {
        let mut new = Made::of(Registry::embedded());
        date.clone_into(&mut new.date);
        refuse_future(Path::new("new.csv"), &new, now).map_err(|error| error.to_string())
    };
    assert_eq!(verdict("2026-03-02"), Ok(()));
    assert_eq!(
        verdict("2026-03-03").unwrap_err(),
        "cannot take new.csv: its newest date is 2026-03-03, and today is 2026-03-01; check the file, and the clock of \
         this host"
    );
}

#[test]
fn the_documentation_has_every_key_of_the_document() {
    let made = Made::of(Registry::embedded());
    let document = Document {
        path: "/var/lib/portreeve/registry.bin".to_owned(),
        registry: &made,
        before: &made,
        used: true,
    };
    documented::check("registry update --json", &print::document(&document).unwrap(), &[]);
}

#[test]
fn what_is_no_place_for_a_table_is_refused_and_left_alone() {
    let host = Host::new();
    let whole = csv("2026-02-13", WHOLE);
    let to = |output: PathBuf| Args {
        output: Some(output),
        ..host.args(&whole)
    };
    fs::write(host.path("notes"), "mine").unwrap();
    for (output, sentence) in [
        (host.path("gone/x.bin"), "there is no folder FOLDER/gone; make it first"),
        (host.folder.path().to_owned(), "it is no regular file"),
        (PathBuf::from("/dev/full"), "it is no regular file"),
        (host.path("notes"), "a file is there that is no registry of portreeve's"),
    ] {
        let refusal = host.refusal(&to(output));
        assert!(refusal.contains(sentence), "{refusal}");
    }
    assert_eq!(fs::read(host.path("notes")).unwrap(), b"mine");
    run(&to(host.path("x.bin"))).unwrap();
    // A damaged one is exchanged.
    fs::write(host.path("x.bin"), "PORTREEV and nothing sound").unwrap();
    run(&to(host.path("x.bin"))).unwrap();
}

#[test]
fn a_link_keeps_leading_where_it_led() {
    let host = Host::new();
    fs::write(host.path("elsewhere.bin"), "").unwrap();
    std::os::unix::fs::symlink(host.path("elsewhere.bin"), host.path("registry.bin")).unwrap();
    run(&host.args(csv("2026-02-13", WHOLE))).unwrap();
    assert!(fs::symlink_metadata(host.path("registry.bin")).unwrap().is_symlink());
    assert!(fs::metadata(host.path("elsewhere.bin")).unwrap().len() > 100_000);
}
