//! Binds, and every way to be refused one.

use std::{
    fs,
    os::{fd::AsFd, unix::process::CommandExt},
    process::Command,
};

use anyhow::{Result, ensure};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, ipproto},
};

use crate::{
    Scenario, Unavailable, raw,
    sock::{Sock, any4, any6, v4, v6},
};

pub const ALL: &[Scenario] = &[
    ("bind_refused_in_use", &[6, 54], || {
        let mut holder = Sock::tcp4()?;
        holder.bind(v4(24_060))??;
        holder.listen(1, false)??;
        refused(Sock::tcp4()?, any4(24_060), Errno::ADDRINUSE)?;
        let mut holder6 = Sock::tcp6()?;
        holder6.bind(v6(24_060))??;
        holder6.listen(1, false)??;
        refused(Sock::tcp6()?, any6(24_060), Errno::ADDRINUSE)?;
        let mut bound = Sock::udp4()?;
        bound.bind(v4(24_060))??;
        refused(Sock::udp4()?, v4(24_060), Errno::ADDRINUSE)?;
        bound.close()?;
        holder6.close()?;
        holder.close()
    }),
    ("bind_refused_no_such_address", &[6, 54], || {
        refused(Sock::tcp4()?, "192.0.2.1:24061".parse()?, Errno::ADDRNOTAVAIL)?;
        refused(Sock::tcp6()?, "[2001:db8::1]:24061".parse()?, Errno::ADDRNOTAVAIL)?;
        refused(Sock::udp4()?, "192.0.2.1:24061".parse()?, Errno::ADDRNOTAVAIL)
    }),
    ("bind_refused_no_privilege", &[6, 54], || {
        // The first port that everyone may take is a setting of each namespace.
        raw::in_own_network(|| {
            fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "30000")?;
            let error = Command::new("/proc/self/exe")
                .args(["part", "bind", "24062"])
                .uid(65_534)
                .gid(65_534)
                .exec();
            Err(error.into())
        })
    }),
    ("bind_refused_bound_already", &[6, 54], || {
        let mut sock = Sock::tcp4()?;
        sock.bind(v4(24_063))??;
        let again = sock.bind(v4(24_064))?;
        ensure!(again == Err(Errno::INVAL), "the second bind gave {again:?}");
        Ok(())
    }),
    ("bind_with_a_cut_address_is_not_seen", &[44], || {
        let sock = Sock::tcp4()?;
        let outcome = raw::bind_cut(
            sock.as_fd(),
            std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 24_066),
        );
        let errno = outcome.err().and_then(|error| error.raw_os_error());
        ensure!(errno == Some(libc::EINVAL), "bind gave {errno:?}");
        Ok(())
    }),
    ("fifty_that_bind_and_exit_at_once", &[17], || {
        for _ in 0..50 {
            raw::wait(raw::in_child(|| Ok(Sock::tcp4()?.bind(v4(24_019))??))?)?;
        }
        Ok(())
    }),
    ("bind_of_another_protocol_is_not_reported", &[31], || {
        let made = Sock::new(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::UDPLITE));
        let sock = made.map_err(|error| Unavailable(format!("this kernel has no UDP-Lite: {error}")))?;
        Ok(rustix::net::bind(&sock, &v4(24_018))?)
    }),
    ("bind_to_0_gets_a_named_port", &[9, 51], || {
        with_one_automatic_port(24_067, || {
            for (mut sock, to) in [(Sock::tcp4()?, v4(0)), (Sock::tcp6()?, v6(0))] {
                sock.bind(to)??;
                ensure!(sock.local()?.port() == 24_067, "0 became another port");
                sock.listen(3, true)??;
                sock.close()?;
            }
            Ok(())
        })
    }),
    ("bind_without_listen", &[32], || {
        for (mut sock, to) in [(Sock::tcp4()?, v4(24_065)), (Sock::tcp6()?, any6(24_065))] {
            sock.bind(to)??;
        }
        Ok(())
    }),
    ("bind_of_an_unnamed_port_is_not_reported", &[32], || {
        let mut sock = Sock::tcp4()?;
        sock.bind(v4(24_566))??;
        Ok(())
    }),
];

/// In a network namespace of its own, where 0 can become this port alone.
pub fn with_one_automatic_port(port: u16, play: fn() -> Result<()>) -> Result<()> {
    raw::in_own_network(|| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", format!("{port} {port}"))?;
        play()
    })
}

fn refused(mut sock: Sock, to: std::net::SocketAddr, why: Errno) -> Result<()> {
    let outcome = sock.bind(to)?;
    ensure!(outcome == Err(why), "bind to {to} gave {outcome:?}");
    Ok(())
}

/// The part of a program without privileges.
pub fn refused_for_want_of_privilege(port: &str) -> Result<()> {
    let port = port.parse()?;
    refused(Sock::tcp4()?, v4(port), Errno::ACCESS)?;
    refused(Sock::tcp6()?, v6(port), Errno::ACCESS)?;
    refused(Sock::udp4()?, v4(port), Errno::ACCESS)
}
