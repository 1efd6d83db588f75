//! Other namespaces.

use std::{fs, net::SocketAddr};

use anyhow::Context;

use crate::{
    Scenario, raw,
    sock::{Sock, any4, v4},
};

pub const ALL: &[Scenario] = &[
    ("the_same_port_in_another_network_namespace", &[21, 65], || {
        let mut here = Sock::tcp4()?;
        here.bind(v4(24_050))??;
        here.listen(3, false)??;
        let there = raw::in_child(|| {
            raw::unshare(libc::CLONE_NEWNET)?;
            raw::loopback_up()?;
            let mut sock = Sock::tcp4()?;
            sock.bind(any4(24_050))??;
            sock.listen(3, false)??;
            sock.close()
        })?;
        raw::wait(there)?;
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
];
