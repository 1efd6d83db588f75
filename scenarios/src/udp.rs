//! UDP: bound and without a peer is listening.

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use rustix::{
    io::Errno,
    net::SendFlags,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::{
    Scenario, process, raw,
    sock::{Sock, any4, any6, holder, me, v4, v6},
};

/// More than the two seconds after which a socket on an unnamed port counts, and the second until the agent looks: it
/// reads then who the process is, which must still be there.
const LONG: Duration = Duration::from_secs(4);

pub const ALL: &[Scenario] = &[
    ("udp_bind", &[30, 43], || {
        for (mut sock, to) in [
            (Sock::udp4()?, any4(24_080)),
            (Sock::udp6()?, v6(24_081)),
            (Sock::udp6()?, any6(24_082)),
        ] {
            sock.bind(to)??;
            sock.close()?;
        }
        Ok(())
    }),
    ("udp_sigkill", &[10, 43], || {
        let open = || {
            let mut sock = Sock::udp4()?;
            sock.bind(v4(24_087))??;
            Ok(sock)
        };
        process::killed(open, Some("closed"))
    }),
    ("udp_bind_then_connect", &[29, 43], || {
        for (mut sock, to, peer) in [
            (Sock::udp4()?, v4(24_083), v4(24_501)),
            (Sock::udp6()?, v6(24_084), v6(24_501)),
            (Sock::udp6()?, any6(24_085), "[::ffff:127.0.0.1]:24501".parse()?),
        ] {
            sock.bind(to)??;
            sock.connect(peer)??;
            sock.ended(Some(holder(&me()?)), Some("connected"));
            sock.close()?;
        }
        Ok(())
    }),
    ("udp_connect_to_a_named_port", &[29], || {
        for (sock, to) in [
            (Sock::udp4()?, v4(24_086)),
            (Sock::udp6()?, v6(24_086)),
            (Sock::udp6()?, "[::ffff:127.0.0.1]:24086".parse()?),
        ] {
            sock.connect(to)??;
        }
        Ok(())
    }),
    ("udp_connect_that_fails", &[29, 58], || {
        raw::in_own_network(|| {
            for (sock, to) in [
                (Sock::udp4()?, "192.0.2.1:24088".parse()?),
                (Sock::udp6()?, "[2001:db8::1]:24088".parse()?),
            ] {
                let outcome = sock.connect(to)?;
                ensure!(outcome == Err(Errno::NETUNREACH), "connect gave {outcome:?}");
            }
            Ok(())
        })
    }),
    ("udp_on_unnamed_ports_counts_after_two_seconds", &[30], || {
        let (mut stays, mut automatic, mut goes, mut connects) =
            (Sock::udp4()?, Sock::udp6()?, Sock::udp4()?, Sock::udp4()?);
        stays.bind(v4(24_587))??;
        automatic.bind(v6(0))??;
        goes.bind(v4(24_588))??;
        connects.bind(v4(24_589))??;
        goes.close()?;
        connects.connect(v4(24_590))??;
        connects.close()?;
        sleep(LONG);
        stays.counts();
        automatic.counts();
        stays.close()?;
        automatic.close()
    }),
    ("udp_port_by_sending_is_not_reported", &[30, 64], || {
        let sock = Sock::udp4()?;
        rustix::net::sendto(&sock, b"x", SendFlags::empty(), &v4(24_591))?;
        sleep(LONG);
        Ok(())
    }),
    ("udp_binds_never_displace_listens", &[30, 37], || {
        let binds = std::env::var("SCENARIOS_FLOOD").map_or(Ok(200_000), |binds| binds.parse::<u32>())?;
        // Each has a processor of its own: where one is interrupted in the middle of a hook, a preemptible kernel leaves out the
        // same hook for all others of that processor. That is counted, and is not what this is about.
        let usable = sched_getaffinity(None)?;
        let processors: Vec<_> = (0..CpuSet::MAX_CPU)
            .filter(|processor| usable.is_set(*processor))
            .collect();
        let keep_to = |processor: Option<&usize>| -> Result<()> {
            let mut own = CpuSet::new();
            own.set(*processor.context("no processor")?);
            Ok(sched_setaffinity(None, &own)?)
        };
        let flood = raw::in_child(|| {
            keep_to(processors.first())?;
            for turn in 0..binds {
                let sock = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
                // The other one may still be closing.
                let port = u16::try_from(24_600 + turn % 400)?;
                rustix::net::bind(&sock, &v4(port))?;
            }
            Ok(())
        })?;
        keep_to(processors.last())?;
        for _ in 0..1_000 {
            let mut sock = Sock::tcp4()?;
            sock.bind(v4(1992))??;
            sock.listen(1, false)??;
            sock.close()?;
        }
        raw::wait(flood)
    }),
];
