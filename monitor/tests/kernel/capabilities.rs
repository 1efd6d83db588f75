//! What each capability is for: the agent is run by a user who is nobody, with capabilities on its file as `setcap` puts
//! them there.

use std::{
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{
    fs::{XattrFlags, setxattr},
    process::{Resource, Rlimit, Signal, getrlimit, setrlimit},
};

use super::{
    Named, Test,
    agent::{Agent, binary, output_of},
    listeners::inode,
};

/// The tests, by name.
pub const ALL: &[Named] = &[
    (
        "with_bpf_and_perfmon_alone_nobody_sees_listeners_and_their_executables",
        essential,
    ),
    ("without_perfmon_nobody_sees_nothing_and_is_told_why", without_perfmon),
    ("without_bpf_nobody_sees_nothing_and_is_told_why", without_bpf),
    (
        "sys_ptrace_shows_the_executable_where_the_kernel_side_did_not_take_it",
        ptrace,
    ),
    ("sys_admin_alone_stands_for_bpf_and_perfmon", sys_admin),
];

/// Numbers of include/uapi/linux/capability.h.
const DAC_READ_SEARCH: u32 = 2;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

const NOBODY: u32 = 65_534;

/// A copy of the agent that has these capabilities, whoever runs it.
struct Capable {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Capable {
    fn of(capabilities: &[u32]) -> Result<Self, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        let path = folder.path().join("portreeve");
        std::fs::copy(binary(), &path)?;
        let set = capabilities.iter().fold(0_u64, |set, capability| set | 1 << capability);
        // `struct vfs_cap_data` of include/uapi/linux/capability.h: revision 2, effective; permitted and inheritable, low
        // words before high ones.
        let (low, high) = (set & 0xffff_ffff, set >> 32);
        let mut data = Vec::new();
        for word in [0x0200_0001, low, 0, high, 0] {
            data.extend(u32::try_from(word)?.to_le_bytes());
        }
        setxattr(&path, "security.capability", &data, XattrFlags::empty())?;
        Ok(Self { _folder: folder, path })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.uid(NOBODY).gid(NOBODY);
        command
    }

    /// Runs it; before 5.11 the limit on locked memory must be high enough, which nobody may not raise.
    fn agent(&self, backend: &str) -> Result<Agent, Box<dyn std::error::Error>> {
        let mut command = self.command();
        command.args(["run", "--events=json", "--backend", backend, "--watch", "24700"]);
        Agent::spawn(command.args(["--web.listen-address", "127.0.0.1:0"]))
    }
}

/// The best backend that this kernel takes from root.
fn best() -> Result<String, Box<dyn std::error::Error>> {
    let doctor = super::agent::doctor()?;
    Ok(doctor["chosen"].as_str().ok_or("no backend attaches")?.to_owned())
}

fn unlimited_memlock() -> Test {
    let all = Rlimit {
        current: None,
        maximum: None,
    };
    if getrlimit(Resource::Memlock).current.is_some() {
        // Natively this may be refused, where no kernel needs it.
        let _ = setrlimit(Resource::Memlock, all);
    }
    Ok(())
}

fn essential() -> Test {
    unlimited_memlock()?;
    let mut agent = Capable::of(&[BPF, PERFMON])?.agent(&best()?)?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let line = agent.event("listen", inode(&listener)?)?;
    let own = std::env::current_exe()?;
    if line["process"]["exe"].as_str().map(Path::new) != Some(own.as_path()) || line["result"] != "ok" {
        return Err(format!("the executable of root's process, or the result, is wrong in {line}").into());
    }
    if !agent.stop(Signal::TERM)?.success() {
        return Err("it did not end well".into());
    }
    Ok(())
}

fn refused(capabilities: &[u32], name: &str) -> Test {
    let output = output_of(Capable::of(capabilities)?.command().args(["run", "--check"]))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(1) && said.contains(name) && said.lines().count() == 1 {
        Ok(())
    } else {
        Err(format!("{}: {said}", output.status).into())
    }
}

fn without_perfmon() -> Test {
    refused(&[BPF, SYS_PTRACE, DAC_READ_SEARCH], "CAP_PERFMON is missing")
}

fn without_bpf() -> Test {
    refused(&[PERFMON, SYS_PTRACE, DAC_READ_SEARCH], "CAP_BPF is missing")
}

/// A connect carries no path: /proc has to tell it, which it tells to few.
fn ptrace() -> Test {
    unlimited_memlock()?;
    for (capabilities, sees) in [
        (&[BPF, PERFMON][..], false),
        (&[BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH], true),
    ] {
        let mut agent = Capable::of(capabilities)?.agent(&best()?)?;
        // Nobody listens there, and this process has not listened yet: its executable is not known from a listen.
        if std::net::TcpStream::connect(("127.0.0.1", 24_700)).is_ok() {
            return Err("somebody listens on port 24700".into());
        }
        let line = agent.event_on("connect", 24_700)?;
        if line["process"]["exe"].is_string() != sees {
            return Err(format!("with {capabilities:?} the executable of a connect is wrong in {line}").into());
        }
        agent.stop(Signal::TERM)?;
    }
    Ok(())
}

fn sys_admin() -> Test {
    let output = output_of(
        Capable::of(&[SYS_ADMIN])?
            .command()
            .args(["run", "--check"])
            .stdin(Stdio::null()),
    )?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() || said.contains("memlock") {
        Ok(())
    } else {
        Err(format!("{}: {said}", output.status).into())
    }
}
