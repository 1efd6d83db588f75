//! Other namespaces.

use std::{
    fs,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change, mount_move};

use crate::{
    Scenario, raw,
    sock::{Sock, any4, v4},
};

pub const ALL: &[Scenario] = &[
    ("the_same_port_in_another_network_namespace", &[21, 65], || {
        let mut here = Sock::tcp4()?;
        here.bind(v4(24_050))??;
        here.listen(3, false)??;
        raw::in_own_network(|| {
            let mut sock = Sock::tcp4()?;
            sock.bind(any4(24_050))??;
            sock.listen(3, false)??;
            sock.close()
        })?;
        here.close()
    }),
    ("another_pid_namespace", &[19], || {
        raw::wait(raw::in_child(|| {
            raw::unshare(libc::CLONE_NEWPID)?;
            raw::wait(raw::in_child(|| {
                let mut sock = Sock::tcp4()?;
                sock.bind(v4(24_051))??;
                sock.listen(3, false)??;
                sock.close()
            })?)
        })?)
    }),
    ("a_socket_of_a_namespace_that_nobody_is_in", &[21], || {
        raw::wait(raw::in_child(|| {
            let home = fs::File::open("/proc/self/ns/net")?;
            raw::unshare(libc::CLONE_NEWNET)?;
            let mut sock = Sock::tcp4()?;
            let address: SocketAddr = any4(24_052);
            sock.bind(address)??;
            sock.listen(3, false)??;
            rustix::thread::move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&home),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .context("cannot go home")?;
            sock.close()
        })?)
    }),
    ("an_executable_on_a_mount", &[17], || {
        on_a_mount(24_053, |folder| Ok((folder.join(PROGRAM), None)))
    }),
    ("an_executable_in_a_chroot_on_a_mount", &[17], || {
        on_a_mount(24_054, |folder| {
            rustix::process::chroot(folder).context("cannot change the root")?;
            Ok((Path::new("/").join(PROGRAM), Some(folder.join(PROGRAM))))
        })
    }),
    // As whatever starts containers does where the root cannot be pivoted away, which is so in a guest.
    ("an_executable_on_a_mount_over_the_root", &[17, 20], || {
        on_a_mount(24_055, |folder| {
            std::env::set_current_dir(folder)?;
            mount_move(".", "/").context("cannot move a mount over the root")?;
            rustix::process::chroot(".").context("cannot change the root")?;
            Ok((Path::new("/").join(PROGRAM), None))
        })
    }),
];

/// This program, below the mount that it is copied to.
const PROGRAM: &str = "inner/program";

/// What to call it, and what it is called from the root of its mount namespace where /proc, which it asks, says another name.
type Names = (PathBuf, Option<PathBuf>);

/// A copy of this program listens, which lies on a mount in a mount namespace of its own.
fn on_a_mount(port: u16, enter: fn(&Path) -> Result<Names>) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("scenarios-mount-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let there = raw::in_child(|| {
        raw::unshare(libc::CLONE_NEWNS)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount("tmpfs", &folder, "tmpfs", MountFlags::empty(), None).context("cannot mount")?;
        let program = folder.join(PROGRAM);
        fs::create_dir_all(program.parent().context("a folder")?)?;
        fs::copy("/proc/self/exe", &program)?;
        let proc = folder.join("proc");
        fs::create_dir(&proc)?;
        mount("proc", &proc, "proc", MountFlags::empty(), None).context("cannot mount /proc")?;
        let (path, seen) = enter(&folder)?;
        std::env::set_current_dir("/")?;
        let mut command = Command::new(path);
        command.args(["part", "listen", &port.to_string()]);
        if let Some(seen) = seen {
            command.env("SEEN_AS", seen);
        }
        Err(command.exec()).context("cannot exec")
    })?;
    raw::wait(there)?;
    // The mount went with the namespace.
    fs::remove_dir(&folder).context("cannot remove the folder")
}
