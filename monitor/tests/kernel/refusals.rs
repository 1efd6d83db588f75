//! Bad input and refusals: each one sentence on stderr, and an exit code of the contract.

use std::{
    error::Error,
    net::TcpListener,
    os::unix::process::CommandExt,
    process::{Command, Output},
    thread,
};

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use super::{
    Named, Test,
    agent::{binary, doctor, file, output, output_of},
};

/// The tests, by name.
pub const ALL: &[Named] = &[
    ("wrong_usage_is_one_sentence_and_exit_code_2", usage),
    ("a_wrong_configuration_is_one_sentence_and_exit_code_78", configuration),
    ("a_missing_capability_is_named_with_how_to_give_it", capability),
    (
        "a_stdout_that_is_full_is_an_error_and_one_that_is_closed_is_not",
        full_and_closed_stdout,
    ),
    ("a_kernel_without_btf_is_said", no_btf),
    ("a_port_that_is_taken_names_who_has_it", port_taken),
    ("a_backend_that_does_not_attach_gives_its_reason", no_backend),
    ("a_memlock_limit_that_is_too_small_is_raised_trap_45", memlock_raised),
    (
        "a_memlock_limit_that_cannot_be_raised_is_said_where_it_matters_trap_45",
        memlock_said,
    ),
];

/// The exit code, and one sentence with these parts on stderr.
fn refused(output: &Output, code: i32, parts: &[&str]) -> Test {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = said.lines().rfind(|line| line.starts_with("portreeve: "));
    let line = line.ok_or_else(|| format!("{}: {said}", output.status))?;
    if output.status.code() != Some(code) {
        return Err(format!("{}, not {code}: {said}", output.status).into());
    }
    if said.contains("panicked") || said.contains("stack backtrace") {
        return Err(format!("a backtrace: {said}").into());
    }
    match parts.iter().find(|part| !line.contains(**part)) {
        None => Ok(()),
        Some(part) => Err(format!("no `{part}` in: {line}").into()),
    }
}

fn usage() -> Test {
    // The command line's parser would say it in several lines.
    for (arguments, part) in [
        (&["run", "--no-such-flag"][..], "--no-such-flag"),
        (&["run", "--wach", "1992"], "--watch"),
        (&["explain"], "<PORT|NAME>"),
        (&["explain", "-1"], "-1"),
        (&["lisst"], "lisst"),
        (&["history", "70000"], "port 70000 is out of range"),
        (&["history", "sctp/22"], "`sctp/22` is neither TCP nor UDP"),
        (
            &["history", "--since", "yesterday"],
            "write how long ago (7d, 12h, 90m)",
        ),
        (
            &["history", "--since", "1d", "--until", "2d"],
            "--since lies after --until",
        ),
        (&["learn", "--merge"], "--merge"),
        (&["learn", "--merge", "a.json", "--since", "7d"], "cannot be used with"),
        (&["learn", "--agent", "nonsense"], "write ADDRESS:PORT"),
        (&["list", "--agent", "https://127.0.0.1:19992"], "write ADDRESS:PORT"),
        (
            &["list", "--fail-on", "expected"],
            "[possible values: unexpected, unruled]",
        ),
        (&["list", "nosuchservice"], "--name finds processes by name"),
        (&["test-alert", "--port", "0"], "0 is not in 1..=65535"),
        (&["test-alert", "--hold", "5"], "write a duration such as 30s or 1m"),
    ] {
        let output = output(arguments)?;
        refused(&output, 2, &[part])?;
        let said = String::from_utf8_lossy(&output.stderr);
        if said.lines().count() != 1 {
            return Err(format!("not one sentence: {said}").into());
        }
    }
    refused(
        &output(&["run", "--watch", "stun-p33"])?,
        2,
        &["--watch", "stun-p33", "stun-p3"],
    )?;
    refused(&output(&["run", "--watch", "70000"])?, 2, &["70000"])?;
    refused(&output(&["run", "--watch", "20-10"])?, 2, &["20-10"])?;
    refused(&output(&["run", "--backend", "kretprobe"])?, 2, &["kretprobe"])?;
    refused(&output(&["run", "--web.listen-address", "nonsense"])?, 2, &["nonsense"])?;
    for path in [
        "metrics",
        "/-/healthy",
        "/api/v1/listeners",
        "/ports/22",
        "/assets/page.js",
        "/{name}",
        "/*x",
        "/:x",
        "/m?x",
    ] {
        refused(
            &output(&["run", "--web.telemetry-path", path])?,
            2,
            &["--web.telemetry-path", path],
        )?;
    }
    for flag in ["--path.rootfs", "--path.sysfs", "--path.procfs"] {
        for command in ["run", "doctor"] {
            let output = output(&[command, flag, "/nonexistent"])?;
            refused(&output, 2, &[&format!("{flag}: /nonexistent is no ")])?;
        }
    }
    refused(
        &output(&["run", "--cri.socket", "cri.sock"])?,
        2,
        &["--cri.socket", "whole path"],
    )?;
    // What listens is told all the same.
    let list = output(&["list", "--cri.socket", "unix:///nonexistent/cri.sock"])?;
    let said = String::from_utf8_lossy(&list.stderr).into_owned();
    if !list.status.success() || !said.contains("--cri.socket /nonexistent/cri.sock: cannot connect") {
        return Err(format!("{}: {said}", list.status).into());
    }
    refused(
        &output(&[
            "run",
            "--web.listen-address=127.0.0.1:19997",
            "--web.listen-address=:19997",
        ])?,
        1,
        &["this agent itself, on another of its addresses, has it"],
    )?;
    refused(&output(&["run", "--watch", "sctp/80"])?, 2, &["sctp/80"])?;
    refused(&output(&["run", "--watch", "0"])?, 2, &["port 0"])?;
    refused(&output(&["run", "--watch", "a\u{1b}[31mb"])?, 2, &["\\u{1b}"])?;
    refused(&output(&["explain", "70000"])?, 2, &["70000"])?;
    // What is asked for is right, and not there.
    for (arguments, part) in [
        (
            &["history", "--history.file", "/nonexistent"][..],
            "there is no history",
        ),
        (
            &["learn", "--merge", "/nonexistent"],
            "--merge: cannot read /nonexistent",
        ),
        (
            &["test-alert", "--agent", "127.0.0.1:1"],
            "no agent answers at 127.0.0.1:1",
        ),
    ] {
        refused(&output(arguments)?, 1, &[part])?;
    }
    refused(&output(&["explain", "stun-p33"])?, 2, &["stun-p33", "stun-p3"])
}

fn configuration() -> Test {
    let (_folder, path) = file("portreeve.toml", "[watch]\nprots = [1992]\n")?;
    refused(
        &output(&["run", "--config.file", &path])?,
        78,
        &[&path, "line 2", "`prots`", "`ports`"],
    )?;
    refused(
        &output(&["run", "--config.file", "/nonexistent/portreeve.toml"])?,
        78,
        &["/nonexistent/portreeve.toml"],
    )?;
    refused(
        &output(&["run", "--config.file", "/dev/zero"])?,
        78,
        &["/dev/zero is no regular file"],
    )?;
    let (_folder, path) = file("portreeve.toml", [0xff, 0xfe, 0x00])?;
    refused(&output(&["run", "--config.file", &path])?, 78, &[&path])
}

/// Runs a command from a thread that has given up capabilities, which the command then never had.
fn without(capabilities: &'static [CapabilitySet], mut command: Command) -> Result<Output, Box<dyn Error>> {
    let run = thread::spawn(move || -> Result<Output, String> {
        for capability in capabilities {
            remove_capability_from_bounding_set(*capability).map_err(|error| error.to_string())?;
        }
        output_of(&mut command).map_err(|error| error.to_string())
    });
    Ok(run.join().map_err(|_| "the thread died")??)
}

/// The agent with arguments.
fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    command
}

const RUN: &[&str] = &["run", "--check"];

fn capability() -> Test {
    const ALL: &[CapabilitySet] = &[CapabilitySet::BPF, CapabilitySet::PERFMON, CapabilitySet::SYS_ADMIN];
    refused(&without(ALL, agent(RUN))?, 1, &["CAP_BPF", "CAP_PERFMON", "setcap"])?;
    const PERFMON: &[CapabilitySet] = &[CapabilitySet::PERFMON, CapabilitySet::SYS_ADMIN];
    let output = without(PERFMON, agent(RUN))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(1) || !said.contains("CAP_PERFMON") || said.contains("CAP_BPF and") {
        return Err(format!("without CAP_PERFMON: {}: {said}", output.status).into());
    }
    // Not root: nobody may not even have the file to hand, so a copy.
    let copy = tempfile::tempdir()?;
    let path = copy.path().join("portreeve");
    std::fs::copy(binary(), &path)?;
    std::fs::set_permissions(copy.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let output = output_of(Command::new(&path).args(RUN).uid(65_534).gid(65_534))?;
    refused(&output, 1, &["CAP_BPF", "run as root"])?;
    let doctor = output_of(Command::new(&path).arg("doctor").uid(65_534).gid(65_534))?;
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    if !said.contains("CAP_BPF is not held") || said.contains("nothing stands in the way") {
        return Err(format!("doctor says {said}").into());
    }
    Ok(())
}

fn full_and_closed_stdout() -> Test {
    for arguments in [
        &["run", "--check"][..],
        &["doctor"],
        &["doctor", "--json"],
        &["explain", "0-65535"],
    ] {
        let shell = |to: &str| {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &format!("\"$0\" \"$@\" {to}")])
                .arg(binary())
                .args(arguments);
            shell
        };
        refused(
            &output_of(&mut shell(">/dev/full"))?,
            1,
            &["cannot write to stdout", "No space left"],
        )?;
        let closed = output_of(&mut shell("| true"))?;
        if !closed.stderr.is_empty() {
            return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&closed.stderr)).into());
        }
    }
    Ok(())
}

fn no_btf() -> Test {
    let empty = tempfile::tempdir()?;
    let sysfs = empty.path().to_str().ok_or("a path that is not UTF-8")?;
    let output = output(&["run", "--check", "--path.sysfs", sysfs])?;
    refused(&output, 1, &["/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"])
}

fn port_taken() -> Test {
    let taken = TcpListener::bind(("127.0.0.1", 0))?;
    let address = taken.local_addr()?.to_string();
    let output = output(&["run", "--web.listen-address", &address])?;
    let pid = format!("pid {}", std::process::id());
    refused(&output, 1, &[&address, &pid, "--web.listen-address"])
}

fn no_backend() -> Test {
    let doctor = doctor()?;
    let backends = doctor["backends"].as_array().ok_or("no backends")?;
    let Some(refusing) = backends.iter().find(|backend| backend["attaches"] == false) else {
        // All attach: without the right to attach, none does.
        const PERFMON: &[CapabilitySet] = &[CapabilitySet::PERFMON, CapabilitySet::SYS_ADMIN];
        let output = without(
            PERFMON,
            agent(&["run", "--backend", "fexit", "--web.listen-address", "127.0.0.1:0"]),
        )?;
        return refused(&output, 1, &["CAP_PERFMON"]);
    };
    let name = refusing["backend"].as_str().ok_or("no name")?;
    let output = output(&["run", "--backend", name, "--web.listen-address", "127.0.0.1:0"])?;
    // The first hook that is tried; where it is refused, no other one is verified.
    refused(&output, 1, &["no backend attaches", name, "inet_csk_listen_stop"])
}

/// Runs the agent below a limit of 64 KiB of locked memory.
fn with_small_memlock(capabilities: &'static [CapabilitySet]) -> Result<Output, Box<dyn Error>> {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -l 64 && exec \"$0\" \"$@\""])
        .arg(binary())
        .args(RUN);
    without(capabilities, shell)
}

fn memlock_raised() -> Test {
    let output = with_small_memlock(&[])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {said}", output.status).into())
    }
}

fn memlock_said() -> Test {
    let output = with_small_memlock(&[CapabilitySet::SYS_RESOURCE])?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut version = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let counts = (version.next(), version.next()) < (Some(5), Some(11));
    if counts {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -l 64 && exec \"$0\" doctor"]).arg(binary());
        let doctor = without(&[CapabilitySet::SYS_RESOURCE], shell)?;
        if !String::from_utf8_lossy(&doctor.stdout).contains("memlock: before 5.11") {
            return Err("doctor does not name the limit".into());
        }
        return refused(&output, 1, &["64 KiB", "LimitMEMLOCK=infinity"]);
    }
    // From 5.11 on maps count elsewhere, and the limit does not matter.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {said}", output.status).into())
    }
}
