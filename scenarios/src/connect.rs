//! Connects of every outcome.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, ioctl_fionbio},
    net::sockopt,
};

use crate::{
    Scenario,
    bind::with_one_automatic_port,
    netlink, raw,
    sock::{Sock, v4, v6},
};

/// `TCP_SYNCNT`, `TCP_FASTOPEN` and `TCP_FASTOPEN_CONNECT` of include/uapi/linux/tcp.h.
const SYNCNT: i32 = 7;
const FASTOPEN: i32 = 23;
const FASTOPEN_CONNECT: i32 = 30;

pub const ALL: &[Scenario] = &[
    ("connect_connected", &[27, 57], || {
        to_listener(Sock::tcp4()?, v4(24_100), &Sock::tcp4()?)
    }),
    ("connect_connected_v6", &[25, 57], || {
        to_listener(Sock::tcp6()?, v6(24_101), &Sock::tcp6()?)
    }),
    ("connect_v4_mapped_once", &[25, 59], || {
        let mut listener = Sock::tcp4()?;
        listener.bind(v4(24_102))??;
        listener.listen(3, false)??;
        Sock::tcp6()?.connect("[::ffff:127.0.0.1]:24102".parse()?)??;
        drop(listener.accept()?);
        listener.close()
    }),
    ("connect_non_blocking", &[27], || {
        let mut listener = Sock::tcp4()?;
        listener.bind(v4(24_103))??;
        listener.listen(3, false)??;
        let client = Sock::tcp4()?;
        ioctl_fionbio(&client, true)?;
        let begun = rustix::net::connect(&client, &v4(24_103));
        ensure!(
            matches!(begun, Ok(()) | Err(Errno::INPROGRESS)),
            "connect gave {begun:?}"
        );
        client.connected(v4(24_103), outcome_of(&client)?)?;
        drop(listener.accept()?);
        listener.close()
    }),
    ("connect_refused", &[57], || {
        for (client, to) in [
            (Sock::tcp4()?, v4(24_104)),
            (Sock::tcp6()?, v6(24_104)),
            (Sock::tcp6()?, "[::ffff:127.0.0.1]:24104".parse()?),
        ] {
            let outcome = client.connect(to)?;
            ensure!(outcome == Err(Errno::CONNREFUSED), "connect gave {outcome:?}");
        }
        Ok(())
    }),
    ("connect_refused_non_blocking", &[27, 57], || {
        let client = Sock::tcp4()?;
        ioctl_fionbio(&client, true)?;
        let begun = rustix::net::connect(&client, &v4(24_105));
        let outcome = match begun {
            Err(Errno::INPROGRESS) => outcome_of(&client)?,
            known => known,
        };
        ensure!(outcome == Err(Errno::CONNREFUSED), "connect gave {outcome:?}");
        client.connected(v4(24_105), outcome)
    }),
    ("connect_timed_out", &[57], || {
        let silent = silent(24_106)?;
        let client = Sock::tcp4()?;
        raw::set_option(client.as_fd().as_raw_fd(), libc::IPPROTO_TCP, SYNCNT, 1)?;
        let outcome = client.connect(v4(24_106))?;
        ensure!(outcome == Err(Errno::TIMEDOUT), "connect gave {outcome:?}");
        silent.close()
    }),
    ("connect_unreachable", &[27, 58], || {
        // Without any interface IPv6 has not even an address to come from: loopback is up.
        raw::in_own_network(|| {
            for (client, to) in [
                (Sock::tcp4()?, "192.0.2.1:24107".parse()?),
                (Sock::tcp6()?, "[2001:db8::1]:24107".parse()?),
            ] {
                let outcome = client.connect(to)?;
                ensure!(outcome == Err(Errno::NETUNREACH), "connect gave {outcome:?}");
            }
            Ok(())
        })
    }),
    ("connect_that_no_way_leads_to", &[27, 58], || {
        raw::in_own_network(|| {
            let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 24_112);
            netlink::make_unreachable(*to.ip())?;
            let outcome = Sock::tcp4()?.connect(to.into())?;
            ensure!(outcome == Err(Errno::HOSTUNREACH), "connect gave {outcome:?}");
            Ok(())
        })
    }),
    ("connect_to_another_family", &[58], || {
        let outcome = Sock::tcp4()?.connect(v6(24_113))?;
        ensure!(outcome == Err(Errno::AFNOSUPPORT), "connect gave {outcome:?}");
        Ok(())
    }),
    ("connect_by_mptcp", &[1, 57, 60], || {
        to_listener(Sock::mptcp4()?, v4(24_114), &Sock::mptcp4()?)
    }),
    ("connect_without_a_free_port", &[27, 58], || {
        with_one_automatic_port(24_068, || {
            let mut holder = Sock::tcp4()?;
            holder.bind(v4(24_068))??;
            for (client, to) in [(Sock::tcp4()?, v4(24_069)), (Sock::tcp6()?, v6(24_069))] {
                let outcome = client.connect(to)?;
                ensure!(outcome == Err(Errno::ADDRNOTAVAIL), "connect gave {outcome:?}");
            }
            Ok(())
        })
    }),
    ("connect_closed_before_an_answer", &[27], || {
        let silent = silent(24_108)?;
        let client = Sock::tcp4()?;
        begin(&client, v4(24_108))?;
        client.connected(v4(24_108), Err(Errno::CANCELED))?;
        drop(client);
        silent.close()
    }),
    ("connect_given_up_by_unspec", &[27], || {
        let silent = silent(24_109)?;
        let client = Sock::tcp4()?;
        begin(&client, v4(24_109))?;
        client.connected(v4(24_109), Err(Errno::CANCELED))?;
        rustix::net::connect_unspec(&client)?;
        silent.close()
    }),
    ("connect_to_itself", &[27], || {
        let mut sock = Sock::tcp4()?;
        sock.bind(v4(24_110))??;
        sock.connect(v4(24_110))??;
        Ok(())
    }),
    ("connect_by_fast_open", &[28], || {
        let mut listener = Sock::tcp4()?;
        raw::set_option(listener.as_fd().as_raw_fd(), libc::IPPROTO_TCP, FASTOPEN, 5)?;
        listener.bind(v4(24_111))??;
        listener.listen(3, false)??;
        // The first one gets a cookie, the second one uses it.
        for _ in 0..2 {
            let client = Sock::tcp4()?;
            let SocketAddr::V4(to) = v4(24_111) else { continue };
            raw::send_fast(client.as_fd().as_raw_fd(), to, b"hello").context("cannot send")?;
            client.connected(v4(24_111), Ok(()))?;
            drop(listener.accept()?);
        }
        let client = Sock::tcp4()?;
        raw::set_option(client.as_fd().as_raw_fd(), libc::IPPROTO_TCP, FASTOPEN_CONNECT, 1)?;
        rustix::net::connect(&client, &v4(24_111))?;
        rustix::net::send(&client, b"hello", rustix::net::SendFlags::empty())?;
        client.connected(v4(24_111), Ok(()))?;
        drop(listener.accept()?);
        listener.close()
    }),
    ("connect_to_an_unnamed_port_is_not_reported", &[], || {
        to_listener(Sock::tcp4()?, v4(24_512), &Sock::tcp4()?)
    }),
];

fn to_listener(mut listener: Sock, to: SocketAddr, client: &Sock) -> Result<()> {
    listener.bind(to)??;
    listener.listen(3, false)??;
    client.connect(to)??;
    drop(listener.accept()?);
    listener.close()
}

/// A listener that answers no more: its queue is full, so the kernel drops what comes.
fn silent(port: u16) -> Result<Sock> {
    let mut listener = Sock::tcp4()?;
    listener.bind(v4(port))??;
    listener.listen(0, false)??;
    let first = Sock::tcp4()?;
    first.connect(v4(port))??;
    // It stays in the queue, also when its client has gone.
    Ok(listener)
}

fn begin(client: &Sock, to: SocketAddr) -> Result<()> {
    ioctl_fionbio(client, true)?;
    let begun = rustix::net::connect(client, &to);
    ensure!(begun == Err(Errno::INPROGRESS), "connect gave {begun:?}");
    Ok(())
}

/// Waits for the outcome of a connect that does not block.
fn outcome_of(client: &Sock) -> Result<Result<(), Errno>> {
    poll(&mut [PollFd::new(client, PollFlags::OUT)], None)?;
    Ok(sockopt::socket_error(client)?)
}
