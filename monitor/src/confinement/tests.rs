use std::{fs, process::Command, thread};

use super::*;

/// Does this on a thread of its own, since there is no way back.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

fn line_of(name: &str) -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().to_owned()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_thread_keeps_the_capabilities_of_its_part_and_cannot_take_others_again() {
    for part in [
        Part::Events { enters: false },
        Part::Events { enters: true },
        Part::Looks,
        Part::Http,
        Part::Receivers,
        Part::Output,
        Part::History,
    ] {
        apart(|| {
            let before = capabilities(None).unwrap().permitted;
            give_up(part);
            let left = before & part.needs();
            for set in ["CapPrm:", "CapEff:"] {
                assert_eq!(line_of(set), format!("{:016x}", left.bits()), "{part:?}");
            }
            let again = CapabilitySets {
                effective: before,
                permitted: before,
                inheritable: CapabilitySet::empty(),
            };
            assert_eq!(set_capabilities(None, again).is_err(), before != left, "{part:?}");
        });
    }
}

#[test]
fn without_capabilities_root_is_anybody() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("of-nobody");
    fs::write(&file, "secret").unwrap();
    std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    apart(|| {
        give_up(Part::Receivers);
        assert_eq!(fs::read_to_string(&file).unwrap(), "secret");
        assert_eq!(
            fs::write(&file, "").unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
        give_up(Part::Output);
        assert_eq!(fs::read(&file).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    });
}

#[test]
fn where_landlock_is_there_a_thread_writes_below_its_folder_alone_and_runs_nothing() {
    if landlock() != "enforced" {
        return;
    }
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = fs::File::create(other.path().join("open")).unwrap();
    fs::write(other.path().join("there"), "readable").unwrap();
    apart(|| {
        write_below([own.path()]).unwrap();
        let refused = |outcome: io::Result<()>| {
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        };
        fs::create_dir(own.path().join("folder")).unwrap();
        fs::write(own.path().join("folder/file"), "text").unwrap();
        fs::remove_file(own.path().join("folder/file")).unwrap();
        refused(fs::write(other.path().join("new"), ""));
        refused(fs::write(other.path().join("there"), ""));
        refused(fs::remove_file(other.path().join("there")));
        refused(fs::create_dir(other.path().join("folder")));
        refused(Command::new("/bin/true").status().map(drop));
        // What was open stays so, and everything can be read.
        open.set_len(7).unwrap();
        assert_eq!(fs::read_to_string(other.path().join("there")).unwrap(), "readable");
        assert_eq!(line_of("NoNewPrivs:"), "1");
    });
}

/// Why the threads that name processes have no Landlock around them.
#[test]
fn where_landlock_is_there_it_takes_away_other_processes_from_root_too() {
    if landlock() != "enforced" || !is_root() {
        return;
    }
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let at = |path: &str| PathBuf::from(format!("/proc/{}/{path}", child.id()));
    apart(|| {
        fs::read_link(at("exe")).unwrap();
        write_below([]).unwrap();
        for path in ["exe", "fd/0", "ns/net"] {
            let error = fs::read_link(at(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{path}");
        }
        fs::read_link("/proc/self/exe").unwrap();
    });
    child.kill().unwrap();
    child.wait().unwrap();
}
