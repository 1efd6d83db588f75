//! Listeners of one process.

use anyhow::{Result, ensure};
use rustix::{
    io::Errno,
    net::{Shutdown, sockopt},
};
use serde_json::{Value, json};

use crate::{
    Scenario, Unavailable, netlink,
    raw::{self, Ia32},
    sock::{Sock, any4, any6, holder, me, say, v4, v6},
};

pub const ALL: &[Scenario] = &[
    ("listen_v4_wildcard", &[4, 23], || simple(Sock::tcp4()?, any4(24_001))),
    ("listen_v4_loopback", &[23], || simple(Sock::tcp4()?, v4(24_002))),
    ("listen_v6_dual_stack", &[24], || simple(Sock::tcp6()?, any6(24_003))),
    ("listen_v6_only", &[24], || {
        let sock = Sock::tcp6()?;
        sockopt::set_ipv6_v6only(&sock, true)?;
        simple(sock, any6(24_004))
    }),
    ("listen_v6_loopback", &[62], || simple(Sock::tcp6()?, v6(24_005))),
    ("listen_v4_mapped", &[24], || {
        simple(Sock::tcp6()?, "[::ffff:127.0.0.1]:24006".parse()?)
    }),
    ("listen_unnamed_port", &[], || simple(Sock::tcp4()?, v4(24_507))),
    ("automatic_port_without_bind", &[2, 51, 52], || {
        for mut sock in [Sock::tcp4()?, Sock::tcp6()?] {
            sock.listen(3, true)??;
            sock.close()?;
        }
        Ok(())
    }),
    ("automatic_port_by_bind_to_0", &[9, 51, 52], || {
        for (mut sock, to) in [(Sock::tcp4()?, v4(0)), (Sock::tcp6()?, any6(0))] {
            sock.bind(to)??;
            sock.listen(3, true)??;
            sock.close()?;
        }
        Ok(())
    }),
    ("listen_twice_changes_the_backlog_alone", &[7, 67], || {
        let mut sock = Sock::tcp4()?;
        sock.bind(v4(24_008))??;
        sock.listen(5, false)??;
        rustix::net::listen(&sock, 9)?;
        sock.close()
    }),
    ("listen_that_fails", &[3, 33, 42, 55], || {
        let (mut first, mut second) = (Sock::tcp4()?, Sock::tcp4()?);
        first.bind(v4(24_009))??;
        second.bind(v4(24_009))??;
        first.listen(1, false)??;
        let refused = second.listen(1, false)?;
        ensure!(refused == Err(Errno::ADDRINUSE), "the second listen gave {refused:?}");
        second.close()?;
        first.close()
    }),
    ("reuseport_in_one_process", &[11], || {
        let mut socks = Vec::new();
        for _ in 0..3 {
            let mut sock = Sock::tcp4()?;
            sockopt::set_socket_reuseport(&sock, true)?;
            sock.bind(v4(24_010))??;
            sock.listen(2, false)??;
            socks.push(sock);
        }
        socks.into_iter().try_for_each(Sock::close)
    }),
    ("shutdown_and_listen_again", &[8], || {
        let mut sock = Sock::tcp4()?;
        sock.bind(v4(24_011))??;
        for _ in 0..2 {
            sock.listen(4, false)??;
            // A monitor that confirms listens by looking must have looked.
            std::thread::sleep(std::time::Duration::from_millis(300));
            rustix::net::shutdown(&sock, Shutdown::Both)?;
            sock.ended(Some(holder(&me()?)), None);
        }
        sock.close()
    }),
    ("shutdown_at_once", &[42], || {
        for _ in 0..20 {
            let mut sock = Sock::tcp4()?;
            sock.bind(v4(24_098))??;
            sock.listen(4, false)??;
            rustix::net::shutdown(&sock, Shutdown::Both)?;
            sock.ended(Some(holder(&me()?)), None);
            sock.close()?;
        }
        Ok(())
    }),
    ("dup_and_close", &[66], || {
        let mut sock = Sock::tcp4()?;
        sock.bind(v4(24_012))??;
        sock.listen(4, false)??;
        let copy = rustix::io::dup(&sock)?;
        let opened = sock.opened().cloned();
        drop(sock);
        Sock::from_fd(copy, opened).close()
    }),
    ("mptcp", &[1, 31, 60], || {
        let mut sock = Sock::mptcp4()?;
        sock.bind(v4(24_013))??;
        sock.listen(4, false)??;
        let client = Sock::tcp4()?;
        client.connect(v4(24_013))??;
        drop(sock.accept()?);
        sock.close()
    }),
    ("a_listener_of_the_kernel", &[14], || {
        let manager = netlink::PathManager::find()?;
        raw::in_own_network(|| {
            let line = |did: &str| -> Result<Value> {
                Ok(json!({
                    "did": did, "result": "ok", "errno": null, "protocol": "tcp", "family": "ipv4",
                    "address": "127.0.0.1", "port": 24_017, "automatic": false, "scope": "loopback", "mptcp": true,
                    "kernel_thread": false, "process": me()?,
                }))
            };
            manager.while_it_listens(24_017, || {
                say(&line("bind")?);
                say(&line("listen")?);
                Ok(())
            })?;
            say(&line("unlisten")?);
            Ok(())
        })
    }),
    ("ia32_caller", &[39], || {
        // In a child: a kernel without the 32-bit entry kills it.
        let child = raw::in_child(by_ia32)?;
        match raw::wait(child) {
            Ok(()) => Ok(()),
            Err(error) => Err(Unavailable(format!("this kernel has no 32-bit entry: {error}")).into()),
        }
    }),
    ("a_thread_with_another_name", &[16], || {
        let thread = std::thread::Builder::new().name("pool-7".to_owned());
        let listening = thread.spawn(|| -> Result<()> {
            let mut sock = Sock::tcp4()?;
            sock.bind(v4(24_014))??;
            sock.listen(4, false)??;
            sock.close()
        })?;
        listening.join().map_err(|_| anyhow::anyhow!("the thread broke off"))?
    }),
    ("a_process_that_renames_itself", &[16], || {
        let mut sock = Sock::tcp4()?;
        sock.bind(v4(24_015))??;
        sock.listen(4, false)??;
        rustix::thread::set_name(c"sshd")?;
        sock.close()
    }),
];

fn simple(mut sock: Sock, to: std::net::SocketAddr) -> Result<()> {
    sock.bind(to)??;
    sock.listen(7, false)??;
    sock.close()
}

/// Binds and listens as a 32-bit program does; the socket itself is made as always.
fn by_ia32() -> Result<()> {
    use std::os::fd::{AsFd, AsRawFd};
    let low: Ia32 = raw::ia32()?;
    let mut sock = Sock::tcp4()?;
    let descriptor = Some(u32::try_from(sock.as_fd().as_raw_fd())?);
    // `struct sockaddr_in` of 127.0.0.1:24016.
    let mut address = vec![2, 0];
    address.extend(24_016_u16.to_be_bytes());
    address.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let (bind, listen) = (2, 4);
    let bound = low.socketcall(bind, &[descriptor, None, Some(16)], &address)?;
    ensure!(bound == 0, "bind by the 32-bit entry gave {bound}");
    sock.said_bind(false)?;
    let listening = low.socketcall(listen, &[descriptor, Some(6)], &[])?;
    ensure!(listening == 0, "listen by the 32-bit entry gave {listening}");
    sock.said_listen(6, false)?;
    sock.close()
}
