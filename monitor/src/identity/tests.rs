//! Identity of real processes: each test starts its own child.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::process::TICK;
use super::*;

/// A child that is killed by its own pid at the end of the test.
struct Own(Child);

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Own {
    let child = Own(command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")));
    // `spawn` returns in the middle of the exec: the command line comes a moment later, unless the child ends first.
    let directory = PathBuf::from(format!("/proc/{}", child.0.id()));
    until("the child has its command line or has ended", || {
        !fs::read(directory.join("cmdline")).unwrap().is_empty()
            || fs::read_to_string(directory.join("stat")).unwrap().contains(") Z ")
    });
    child
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 10 s in vain until {what}");
        std::thread::yield_now();
    }
}

/// Start of a process in nanoseconds since boot, as exactly as /proc shows it.
fn started(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks: u64 = text[text.rfind(')').unwrap()..]
        .split_ascii_whitespace()
        .nth(20)
        .unwrap()
        .parse()
        .unwrap();
    ticks * TICK
}

fn look(child: &Own) -> ProcessIdentity {
    Identity::new(&Paths::default()).process(child.0.id(), started(child.0.id()), 0, 0)
}

fn sleep_at(path: &Path) -> Own {
    // The real file: /bin/sleep may be a link to a program that goes by its name.
    fs::copy(fs::canonicalize("/bin/sleep").unwrap(), path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    start(Command::new(path).arg("600"))
}

/// What a process of which no cgroup is known misses when it is gone.
const GONE: [Missing; 4] = [Missing::Exe, Missing::Cmdline, Missing::Cgroup, Missing::Ancestors];

fn parent(identity: &ProcessIdentity) -> Option<u32> {
    Some(identity.ancestors.as_ref()?.first()?.pid)
}

#[test]
fn a_living_process_is_known_by_executable_command_line_and_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listener");
    let child = sleep_at(&path);
    let seen = look(&child);
    assert_eq!(
        seen,
        ProcessIdentity {
            exe: Some(path.to_str().unwrap().to_owned()),
            exe_state: Some(ExeState::File),
            cmdline: Some(vec![path.to_str().unwrap().to_owned(), "600".to_owned()]),
            user: Some("root".to_owned()),
            // What these tests run in.
            cgroup: seen.cgroup.clone(),
            unit: seen.unit.clone(),
            container: seen.container.clone(),
            package: None,
            ancestors: seen.ancestors.clone(),
            missing: vec![],
        }
    );
}

#[test]
fn an_executable_that_was_removed_is_named_without_the_kernels_suffix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listener");
    let child = sleep_at(&path);
    fs::remove_file(&path).unwrap();
    let seen = look(&child);
    assert_eq!(seen.exe.as_deref(), path.to_str());
    assert_eq!(seen.exe_state, Some(ExeState::Deleted));
}

#[test]
fn a_file_that_is_really_called_deleted_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listener (deleted)");
    let child = sleep_at(&path);
    let seen = look(&child);
    assert_eq!(seen.exe.as_deref(), path.to_str());
    assert_eq!(seen.exe_state, Some(ExeState::File));

    fs::remove_file(&path).unwrap();
    let seen = look(&child);
    assert_eq!(seen.exe.as_deref(), path.to_str());
    assert_eq!(seen.exe_state, Some(ExeState::Deleted));
}

#[test]
fn a_removed_executable_that_another_link_still_names_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listener");
    let child = sleep_at(&path);
    fs::hard_link(&path, folder.path().join("kept")).unwrap();
    fs::remove_file(&path).unwrap();
    // Something else may take the name, even with the kernel's suffix.
    fs::write(folder.path().join("listener (deleted)"), "").unwrap();
    let seen = look(&child);
    assert_eq!(seen.exe.as_deref(), path.to_str());
    assert_eq!(seen.exe_state, Some(ExeState::Deleted));
}

#[test]
fn a_program_in_a_memfd_is_recognised() {
    use std::os::fd::AsRawFd;
    let memfd = rustix::fs::memfd_create("nothing to see", rustix::fs::MemfdFlags::empty()).unwrap();
    let mut memfd = fs::File::from(memfd);
    memfd
        .write_all(&fs::read(fs::canonicalize("/bin/sleep").unwrap()).unwrap())
        .unwrap();
    // A file that is open for writing cannot be executed: the child opens it anew and for reading.
    let path = format!("/proc/{}/fd/{}", std::process::id(), memfd.as_raw_fd());
    let readable = fs::File::open(&path).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), readable.as_raw_fd());
    drop(memfd);
    let child = start(Command::new(path).arg0("[kworker/0:1]").arg("600"));
    let seen = look(&child);
    assert_eq!(seen.exe.as_deref(), Some("/memfd:nothing to see"));
    assert_eq!(seen.exe_state, Some(ExeState::Memfd));
    assert_eq!(seen.cmdline, Some(vec!["[kworker/0:1]".to_owned(), "600".to_owned()]));
}

#[test]
fn a_process_that_is_gone_is_reported_missing_with_its_user() {
    let mut child = start(Command::new("/bin/sleep").arg("600"));
    let (pid, start) = (child.0.id(), started(child.0.id()));
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    assert_eq!(
        Identity::new(&Paths::default()).process(pid, start, 0, 0),
        ProcessIdentity {
            user: Some("root".to_owned()),
            missing: GONE.to_vec(),
            ..ProcessIdentity::default()
        }
    );
}

#[test]
fn a_process_that_has_exited_but_is_not_waited_for_is_reported_missing() {
    let child = start(&mut Command::new("/bin/true"));
    let stat = format!("/proc/{}/stat", child.0.id());
    until("true(1) has ended", || {
        fs::read_to_string(&stat).unwrap().contains(") Z ")
    });
    let seen = look(&child);
    assert_eq!((&seen.exe, &seen.cmdline), (&None, &None));
    assert_eq!(seen.missing.get(..2), Some(&[Missing::Exe, Missing::Cmdline][..]));
    assert_eq!(parent(&seen), Some(std::process::id()));
}

#[test]
fn note_18_a_process_that_started_at_another_time_is_another_process() {
    let child = start(Command::new("/bin/sleep").arg("600"));
    let (pid, start) = (child.0.id(), started(child.0.id()));
    let mut identity = Identity::new(&Paths::default());
    for other in [start - TICK, start - 1, start + TICK] {
        let seen = identity.process(pid, other, 0, 0);
        assert_eq!(seen.exe, None, "started at {start}, asked for {other}");
        assert_eq!(seen.missing, GONE);
    }
    for same in [start, start + TICK - 1] {
        assert_eq!(
            identity.process(pid, same, 0, 0).missing,
            [],
            "started at {start}, asked for {same}"
        );
    }
}

#[test]
fn a_kernel_thread_misses_nothing() {
    // kthreadd: pid 2 of the initial pid namespace, in which these tests run.
    assert_eq!(
        fs::read_to_string("/proc/2/comm").unwrap(),
        "kthreadd\n",
        "these tests need the initial pid namespace"
    );
    let seen = Identity::new(&Paths::default()).process(2, started(2), 0, 0);
    assert_eq!(
        seen,
        ProcessIdentity {
            user: Some("root".to_owned()),
            ..ProcessIdentity::default()
        }
    );
}

#[test]
fn a_password_on_a_real_command_line_is_masked_unless_all_is_asked_for() {
    // The shell itself waits, for a line that never comes: it starts no child that would outlive it.
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "read line; : --password hunter2", "app", "--db-token", "hunter3"])
        .stdin(Stdio::piped());
    let child = start(&mut command);
    let (pid, start) = (child.0.id(), started(child.0.id()));
    let process = |privacy| {
        Identity::new(&Paths::default())
            .with_privacy(privacy)
            .process(pid, start, 0, 0)
    };

    let masked = process(Privacy::Masked).cmdline.unwrap();
    assert_eq!(
        masked,
        [
            "/bin/sh",
            "-c",
            "read line; : --password ***",
            "app",
            "--db-token",
            "***"
        ]
    );
    let full = process(Privacy::Full).cmdline.unwrap();
    assert_eq!(full[5], "hunter3");
    let none = process(Privacy::None);
    assert_eq!((none.cmdline, none.missing), (None, vec![]));
}

#[test]
fn a_uid_without_a_name_is_missing_and_the_rest_is_not() {
    let child = start(Command::new("/bin/sleep").arg("600"));
    let seen = Identity::new(&Paths::default()).process(child.0.id(), started(child.0.id()), 3_999_999_999, 0);
    assert_eq!((seen.user, seen.missing), (None, vec![Missing::User]));
    assert!(seen.exe.is_some());
}

#[test]
fn what_proc_refuses_is_missing() {
    // A thread of its own gives up the capabilities that open another user's /proc/PID/exe.
    let child = start(Command::new("/bin/sleep").arg("600").uid(65_534).gid(65_534));
    let (pid, start) = (child.0.id(), started(child.0.id()));
    let seen = std::thread::spawn(move || {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        assert!(
            !sets.effective.is_empty(),
            "this test needs root: it gives capabilities up"
        );
        sets.effective = rustix::thread::CapabilitySet::empty();
        rustix::thread::set_capabilities(None, sets).unwrap();
        Identity::new(&Paths::default()).process(pid, start, 0, 0)
    })
    .join()
    .unwrap();
    assert_eq!((seen.exe, seen.exe_state), (None, None));
    assert_eq!(seen.cmdline, Some(vec!["/bin/sleep".to_owned(), "600".to_owned()]));
    assert_eq!(seen.missing, [Missing::Exe]);
}

#[test]
fn ancestors_are_the_parents_in_their_order_up_to_the_bound() {
    // Shells in each other that say who they are; each waits for a line that never comes once the inner one has ended.
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("nest");
    fs::write(
        &script,
        "echo $$\nif [ $1 -gt 0 ]; then sh \"$0\" $(($1 - 1)); fi\nread line\n",
    )
    .unwrap();
    let mut command = Command::new("/bin/sh");
    command.arg(&script).arg((MAX_ANCESTORS + 1).to_string());
    let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let said = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let chain: Vec<u32> = said
        .take(MAX_ANCESTORS + 2)
        .map(|pid| pid.unwrap().parse().unwrap())
        .collect();
    let pid = *chain.last().unwrap();
    let seen = Identity::new(&Paths::default()).process(pid, started(pid), 0, 0);
    let ancestors = seen.ancestors.unwrap();
    let pids: Vec<u32> = ancestors.iter().map(|ancestor| ancestor.pid).collect();
    let expected: Vec<u32> = chain.iter().rev().skip(1).take(MAX_ANCESTORS).copied().collect();
    assert_eq!(pids, expected);
    assert_eq!(ancestors[0].comm, "sh");
}

#[test]
fn ancestors_end_at_the_first_process() {
    let seen = Identity::new(&Paths::default()).process(1, started(1), 0, 0);
    assert_eq!(seen.ancestors, Some(vec![]));
}

#[test]
fn a_process_is_in_its_cgroup_also_when_it_is_gone() {
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    let tree = mounts.into_iter().find(|tree| tree.join("cgroup.controllers").exists());
    let name = format!("portreeve-{}.service", std::process::id());
    let Some(folder) = tree
        .map(|tree| tree.join(&name))
        .filter(|folder| fs::create_dir(folder).is_ok())
    else {
        eprintln!("not run: no cgroup can be made here");
        return;
    };
    let mut child = start(Command::new("/bin/sleep").arg("600"));
    let (pid, start) = (child.0.id(), started(child.0.id()));
    fs::write(folder.join("cgroup.procs"), pid.to_string()).unwrap();
    let id = rustix::fs::stat(&folder).unwrap().st_ino;

    let mut identity = Identity::new(&Paths::default());
    let seen = identity.process(pid, start, 0, id);
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let gone = identity.process(pid, start, 0, id);
    let searched = Identity::new(&Paths::default()).process(pid, start, 0, id);
    fs::remove_dir(&folder).unwrap();
    for (seen, missing) in [
        (seen, &[][..]),
        (gone, &[Missing::Exe, Missing::Cmdline, Missing::Ancestors]),
        (searched, &[Missing::Exe, Missing::Cmdline, Missing::Ancestors]),
    ] {
        assert_eq!(seen.cgroup, Some(format!("/{name}")));
        assert_eq!(seen.unit.as_ref(), Some(&name));
        assert_eq!((seen.container, seen.missing.as_slice()), (None, missing));
    }
}

#[test]
fn the_package_of_a_process_is_named_once_the_database_is_read() {
    if !Path::new("/var/lib/dpkg/info").is_dir() {
        eprintln!("not run: no dpkg here");
        return;
    }
    let child = start(Command::new("/bin/sleep").arg("600"));
    let (pid, start) = (child.0.id(), started(child.0.id()));
    let mut identity = Identity::new(&Paths::default());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = identity.process(pid, start, 0, 0);
        assert_eq!(seen.missing, []);
        if seen.package.is_some() || seen.container.is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "no package after 60 s");
        std::thread::yield_now();
    }
}

#[test]
fn what_the_kernel_side_saw_is_named_by_its_package_too() {
    use std::os::unix::fs::MetadataExt;
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("var/lib/dpkg/info")).unwrap();
    fs::write(root.path().join("var/lib/dpkg/info/netcat.list"), "/bin\n/bin/nc\n").unwrap();
    fs::create_dir(root.path().join("bin")).unwrap();
    fs::write(root.path().join("bin/nc"), "").unwrap();
    let file = fs::metadata(root.path().join("bin/nc")).unwrap();
    let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    let executable = |inode, state| Executable {
        inode,
        device: major << 20 | minor,
        path: Some("/bin/nc".to_owned()),
        state,
    };
    let paths = Paths {
        rootfs: root.path().to_owned(),
        ..Paths::default()
    };
    let mut identity = Identity::new(&paths);
    identity.prepare();
    let mut package = |inode, state| {
        let mut gone = ProcessIdentity::default();
        identity.executed(&mut gone, &executable(inode, state));
        gone.package
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while package(file.ino(), ExecutableState::File).as_deref() != Some("netcat") {
        assert!(Instant::now() < deadline, "no package after 10 s");
        std::thread::yield_now();
    }
    assert_eq!(package(file.ino() + 1, ExecutableState::File), None, "another file");
    assert_eq!(package(file.ino(), ExecutableState::Deleted), None);

    // By now it executes a program of the same name that a package owns.
    let mut later = ProcessIdentity {
        exe: Some("/bin/nc".to_owned()),
        package: Some("netcat".to_owned()),
        ..ProcessIdentity::default()
    };
    let other = Executable {
        path: Some("/tmp/nc".to_owned()),
        ..executable(1, ExecutableState::File)
    };
    identity.executed(&mut later, &other);
    assert_eq!((later.exe.as_deref(), later.package), (Some("/tmp/nc"), None));
}
