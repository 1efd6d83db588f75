//! Listeners that pass from one process to another, or whose process is not what it seems.

use std::{
    cell::RefCell,
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    os::unix::fs::PermissionsExt,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use rustix::{
    fs::MemfdFlags,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
    },
    process::{Signal, kill_process},
};
use serde_json::Value;

use crate::{
    Scenario, raw,
    sock::{Sock, holder, me, say_ended, v4},
};

pub const ALL: &[Scenario] = &[
    ("reuseport_in_four_processes", &[11], || {
        let mut children = Vec::new();
        for _ in 0..4 {
            children.push(raw::in_child(|| {
                let mut sock = Sock::tcp4()?;
                sockopt::set_socket_reuseport(&sock, true)?;
                sock.bind(v4(24_030))??;
                sock.listen(2, false)??;
                sock.close()
            })?);
        }
        children.into_iter().try_for_each(raw::wait)
    }),
    ("opener_exits_while_its_child_serves", &[12, 66], opener_exits),
    ("passed_over_scm_rights", &[10, 66], passed),
    ("exec_with_an_inherited_listener", &[12, 66], || {
        raw::wait(raw::in_child(|| {
            let mut sock = Sock::tcp4()?;
            sock.bind(v4(24_033))??;
            sock.listen(2, false)??;
            let line = sock.opened().context("no listener")?.to_string();
            rustix::io::fcntl_setfd(&sock, rustix::io::FdFlags::empty())?;
            let descriptor = sock.as_fd().as_raw_fd().to_string();
            let error = exec(
                Command::new("/proc/self/exe")
                    .args(["part", "inherited", &descriptor])
                    .env("OPENED", line),
            );
            Err(error).context("cannot exec")
        })?)
    }),
    ("memfd_executable", &[16, 17], || {
        let memory = rustix::fs::memfd_create("hidden", MemfdFlags::empty())?;
        let program = fs::read("/proc/self/exe")?;
        rustix::io::write(&memory, &[])?;
        let mut written = 0;
        while let Some(rest) = program.get(written..).filter(|rest| !rest.is_empty()) {
            written += rustix::io::write(&memory, rest)?;
        }
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let status = Command::new(path).args(["part", "listen", "24034"]).status()?;
        ensure!(status.success(), "the program in memory ended with {status}");
        Ok(())
    }),
    ("deleted_executable", &[16, 17], || {
        let path = std::env::temp_dir().join(format!("scenarios-{}", std::process::id()));
        fs::copy("/proc/self/exe", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let mut child = Command::new(&path)
            .args(["part", "listen", "24035"])
            .env("WAIT_UNTIL_GONE", &path)
            .spawn()?;
        // The program runs once it has its own command line.
        let command_line = format!("/proc/{}/cmdline", child.id());
        while !fs::read(&command_line)?.starts_with(path.as_os_str().as_encoded_bytes()) {
            std::thread::yield_now();
        }
        fs::remove_file(&path)?;
        let status = child.wait()?;
        ensure!(status.success(), "the deleted program ended with {status}");
        Ok(())
    }),
    ("sigkill_of_a_listener", &[10], || {
        let open = || {
            let mut sock = Sock::tcp4()?;
            sock.bind(v4(24_036))??;
            sock.listen(2, false)??;
            Ok(sock)
        };
        killed(open, None)
    }),
    ("five_hundred_that_listen_and_exit_at_once", &[17, 68], || {
        for _ in 0..500 {
            let child = raw::in_child(|| {
                let mut sock = Sock::tcp4()?;
                sock.listen(1, true)??;
                // It exits without closing.
                sock.close()
            })?;
            raw::wait(child)?;
        }
        Ok(())
    }),
];

fn exec(command: &mut Command) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    command.exec()
}

/// The child keeps the listener, and ends it once its parent has exited.
fn opener_exits() -> Result<()> {
    let (gone, player_waits) = rustix::pipe::pipe()?;
    let player_waits = RefCell::new(Some(player_waits));
    // A third process waits for both: the one that plays is the parent of the opener alone.
    let opener = raw::in_child(|| {
        let mut sock = Sock::tcp4()?;
        sock.bind(v4(24_031))??;
        sock.listen(2, false)??;
        let child = raw::in_child(|| {
            drop(player_waits.take());
            // Ends when the last one that could write has gone: the opener, and the player once it has seen that. An
            // opener that still exits would close the listener after the child.
            rustix::io::read(&gone, &mut [0_u8; 1])?;
            sock.ended(Some(holder(&me()?)), None);
            Ok(())
        });
        child.map(|_| ())
    })?;
    raw::wait(opener)?;
    drop(player_waits.take());
    // The child is an orphan; give it the time to end.
    std::thread::sleep(std::time::Duration::from_millis(200));
    Ok(())
}

/// The sender exits, the receiver closes.
fn passed() -> Result<()> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
    let sender = raw::in_child(move || {
        let mut sock = Sock::tcp4()?;
        sock.bind(v4(24_032))??;
        sock.listen(2, false)??;
        let line = sock.opened().context("no listener")?.to_string();
        let descriptors = [sock.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(
            &theirs,
            &[std::io::IoSlice::new(line.as_bytes())],
            &mut ancillary,
            SendFlags::empty(),
        )?;
        Ok(())
    })?;
    raw::wait(sender)?;
    let mut text = vec![0; 4096];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        &ours,
        &mut [std::io::IoSliceMut::new(&mut text)],
        &mut ancillary,
        RecvFlags::empty(),
    )?;
    let opened = serde_json::from_slice(text.get(..received.bytes).context("no line")?)?;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let descriptor = descriptors.pop().context("no descriptor came")?;
    Sock::from_fd(descriptor, Some(opened)).close()
}

/// What a process has opened ends with it, by no call of its own.
pub fn killed(open: fn() -> Result<Sock>, reason: Option<&str>) -> Result<()> {
    let (tells, ready) = rustix::pipe::pipe()?;
    let child = raw::in_child(move || {
        let sock = open()?;
        let line = sock.opened().context("no listener")?.to_string();
        rustix::io::write(&ready, line.as_bytes())?;
        loop {
            std::thread::park();
        }
    })?;
    let mut text = vec![0; 4096];
    let read = rustix::io::read(&tells, &mut text)?;
    let opened: Value = serde_json::from_slice(text.get(..read).context("no line")?)?;
    kill_process(child, Signal::KILL)?;
    rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())?;
    let holder = holder(opened.get("process").context("no process")?);
    say_ended(opened, Some(holder), reason);
    Ok(())
}

/// The part of a program that was executed with a listener: it closes it.
pub fn inherited(descriptor: &str) -> Result<()> {
    let opened = serde_json::from_str(&std::env::var("OPENED")?)?;
    Sock::from_fd(raw::inherited(descriptor.parse()?), Some(opened)).close()
}

/// The part of a program that listens and ends.
pub fn listen_once(port: &str) -> Result<()> {
    if let Ok(path) = std::env::var("WAIT_UNTIL_GONE") {
        while fs::exists(&path)? {
            std::thread::yield_now();
        }
    }
    let mut sock = Sock::tcp4()?;
    sock.bind(v4(port.parse()?))??;
    sock.listen(2, false)??;
    sock.close()
}
