//! What the agent's threads give up, tried in this process: each on a thread of its own, since there is no way back.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use portreeve::confinement::{Part, give_up, give_up_files_too, landlock};

use super::{Named, Test};

/// They need root, which has something to give up.
pub const ALL: &[Named] = &[("without_capabilities_root_is_anybody", anybody)];

/// They need a kernel with Landlock.
pub const WITH_LANDLOCK: &[Named] = &[
    (
        "a_thread_in_landlock_writes_below_its_folder_alone_and_runs_nothing",
        writes,
    ),
    ("landlock_takes_other_processes_away_from_root_too", processes),
];

/// Why Landlock cannot be tried here; `None` where it can.
pub fn missing() -> Option<String> {
    (landlock() != "enforced")
        .then(|| "this kernel has no Landlock, or it is not switched on; it runs in guests".to_owned())
}

fn apart(work: impl FnOnce() -> Test + Send) -> Test {
    let done = thread::scope(|scope| scope.spawn(|| work().map_err(|error| error.to_string())).join());
    Ok(done.unwrap_or_else(|_| Err("the thread broke off".to_owned()))?)
}

/// Whether this was refused for want of permission.
fn refused<T>(what: &str, outcome: io::Result<T>) -> Test {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(format!("{what}: {error}").into()),
        Ok(_) => Err(format!("{what} was not refused").into()),
    }
}

fn anybody() -> Test {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("of-nobody");
    fs::write(&file, "secret")?;
    chown(&file, Some(65_534), None)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    apart(|| {
        give_up(Part::Receivers);
        // CAP_DAC_READ_SEARCH: certificates may be somebody's alone.
        fs::read(&file)?;
        refused("to write it", fs::write(&file, ""))?;
        give_up(Part::Output);
        refused("to read it", fs::read(&file))
    })
}

fn writes() -> Test {
    let (own, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let open = fs::File::create(other.path().join("open"))?;
    fs::write(other.path().join("there"), "readable")?;
    apart(|| {
        give_up_files_too(Part::History, [own.path()]);
        fs::create_dir(own.path().join("folder"))?;
        fs::write(own.path().join("folder/file"), "text")?;
        fs::remove_file(own.path().join("folder/file"))?;
        refused("a new file", fs::write(other.path().join("new"), ""))?;
        refused("a file that is there", fs::write(other.path().join("there"), ""))?;
        refused("to remove one", fs::remove_file(other.path().join("there")))?;
        refused("a folder", fs::create_dir(other.path().join("folder")))?;
        let program = std::env::current_exe()?;
        refused("a program", Command::new(program).arg("--list").status())?;
        // What was open stays so, and everything can be read.
        open.set_len(7)?;
        fs::read(other.path().join("there"))?;
        Ok(())
    })
}

/// Why the threads that name processes have no Landlock around them.
fn processes() -> Test {
    let mut child = Command::new("sleep").arg("600").spawn()?;
    let at = |path: &str| PathBuf::from(format!("/proc/{}/{path}", child.id()));
    let tried = apart(|| {
        give_up(Part::Looks);
        fs::read_link(at("exe"))?;
        give_up_files_too(Part::Looks, Option::<&Path>::None);
        for path in ["exe", "fd/0", "ns/net"] {
            refused(path, fs::read_link(at(path)))?;
        }
        fs::read_link("/proc/self/exe")?;
        Ok(())
    });
    child.kill()?;
    child.wait()?;
    tried
}
