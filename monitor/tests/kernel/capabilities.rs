//! What each capability is for: the agent is run by a user who is nobody, with capabilities on its file as `setcap` puts
//! them there.

use std::{
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::channel,
    thread,
};

use rustix::{
    fs::{XattrFlags, setxattr},
    process::{Resource, Rlimit, Signal, getrlimit, setrlimit},
};

use serde_json::Value;

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
    (
        "sys_ptrace_and_dac_read_search_show_who_holds_a_listener_and_neither_does_alone",
        holders,
    ),
    ("sys_admin_alone_stands_for_bpf_and_perfmon", sys_admin),
    (
        "another_namespace_is_looked_into_with_sys_ptrace_and_left_unknown_without",
        elsewhere,
    ),
    ("nobody_is_told_of_a_memlock_limit_that_is_too_small_trap_45", memlock),
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

/// The backends that this kernel takes from root, the best first.
fn backends() -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let doctor = super::agent::doctor()?;
    let backends = doctor["backends"].as_array().ok_or("no backends")?;
    let attached = backends.iter().filter(|backend| backend["attaches"] == true);
    let names = attached.filter_map(|backend| Some(backend["backend"].as_str()?.to_owned()));
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        return Err("no backend attaches".into());
    }
    Ok(names)
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
    let own = std::env::current_exe()?;
    for backend in backends()? {
        let mut agent = match Capable::of(&[BPF, PERFMON])?.agent(&backend) {
            Ok(agent) => agent,
            // Debian's kernels ask for more for kprobes, as long as a setting of their own is not lowered.
            Err(error) if backend == "kprobe" && error.to_string().contains("kernel.perf_event_paranoid is 3") => {
                Capable::of(&[BPF, PERFMON, SYS_ADMIN])?.agent(&backend)?
            }
            Err(error) => return Err(error),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let line = agent.event("listen", inode(&listener)?)?;
        if line["process"]["exe"].as_str().map(Path::new) != Some(own.as_path()) || line["result"] != "ok" {
            return Err(
                format!("{backend}: the executable of root's process, or the result, is wrong in {line}").into(),
            );
        }
        if !agent.stop(Signal::TERM)?.success() {
            return Err(format!("{backend}: it did not end well").into());
        }
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
        (&[BPF, PERFMON, DAC_READ_SEARCH], false),
        (&[BPF, PERFMON, SYS_PTRACE], true),
    ] {
        let backends = backends()?;
        let mut agent = Capable::of(capabilities)?.agent(backends.first().ok_or("no backend")?)?;
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

/// Without programs in the kernel, whose descriptors are whose is told by /proc: the folder to who may read any, the links in
/// it to who may trace any.
fn holders() -> Test {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    for (capabilities, sees) in [
        (&[SYS_PTRACE][..], false),
        (&[DAC_READ_SEARCH], false),
        (&[SYS_PTRACE, DAC_READ_SEARCH], true),
    ] {
        let output = output_of(
            Capable::of(capabilities)?
                .command()
                .args(["list", "--json", &port.to_string()]),
        )?;
        let list: Value = serde_json::from_slice(&output.stdout)?;
        let line = &list["listeners"][0];
        if line["port"] != port || line["process"]["pid"].is_number() != sees {
            return Err(format!("with {capabilities:?} who holds a listener is wrong in {list}").into());
        }
    }
    Ok(())
}

fn sys_admin() -> Test {
    unlimited_memlock()?;
    let output = output_of(
        Capable::of(&[SYS_ADMIN])?
            .command()
            .args(["run", "--check"])
            .stdin(Stdio::null()),
    )?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {said}", output.status).into())
    }
}

/// A listen by a thread that is alone in a network namespace and stays there, which the tracepoint has to confirm.
fn elsewhere() -> Test {
    unlimited_memlock()?;
    for (capabilities, result) in [
        (&[BPF, PERFMON][..], Value::Null),
        (&[BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH], "ok".into()),
        (&[BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH, SYS_ADMIN], "ok".into()),
    ] {
        let mut agent = Capable::of(capabilities)?.agent("tracepoint")?;
        let (opened, socket) = channel();
        let (stay, stays) = channel::<()>();
        let there = thread::spawn(move || -> Result<(), String> {
            let listener = listener_elsewhere().map_err(|error| error.to_string())?;
            let inode = inode(&listener).map_err(|error| error.to_string())?;
            opened.send(inode).map_err(|error| error.to_string())?;
            // Ends when the other end is dropped.
            let _ = stays.recv();
            Ok(())
        });
        let line = match socket.recv() {
            Ok(socket) => agent.event("listen", socket)?,
            Err(_) => {
                return Err(there
                    .join()
                    .map_err(|_| "the thread broke off")?
                    .err()
                    .unwrap_or_default()
                    .into());
            }
        };
        let is_missing = line["missing"]
            .as_array()
            .is_some_and(|keys| keys.contains(&"result".into()));
        if line["result"] != result || is_missing != result.is_null() || line["host_netns"] != false {
            return Err(format!("with {capabilities:?} the result is not {result} in {line}").into());
        }
        drop(stay);
        there.join().map_err(|_| "the thread broke off")??;
        agent.stop(Signal::TERM)?;
    }
    Ok(())
}

/// A listener in a network namespace that the calling thread makes and stays in.
fn listener_elsewhere() -> Result<TcpListener, Box<dyn std::error::Error>> {
    #[expect(
        deprecated,
        reason = "the thread opens a socket and ends; it shares nothing that moves with it"
    )]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET)?;
    Ok(TcpListener::bind(("0.0.0.0", 0))?)
}

fn memlock() -> Test {
    let capable = Capable::of(&[BPF, PERFMON])?;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -l 64 && exec \"$0\" run --check"])
        .arg(&capable.path);
    shell.uid(NOBODY).gid(NOBODY);
    let output = output_of(&mut shell)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    // From 5.11 on maps count elsewhere.
    let counts = release.starts_with("5.10.");
    let is_told = said.contains("64 KiB") && said.contains("LimitMEMLOCK=infinity") && said.lines().count() == 1;
    if (counts && output.status.code() == Some(1) && is_told) || (!counts && output.status.success()) {
        Ok(())
    } else {
        Err(format!("{}: {said}", output.status).into())
    }
}
