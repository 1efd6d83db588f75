//! Accepts.

use std::{os::fd::AsFd, os::fd::AsRawFd, sync::Arc, thread};

use anyhow::{Context, Result};

use crate::{
    Scenario, raw,
    sock::{Sock, any6, v4, v6},
};

pub const ALL: &[Scenario] = &[
    ("accept_hundred", &[56], || {
        let mut listener = Sock::tcp4()?;
        listener.bind(v4(24_130))??;
        listener.listen(3, false)??;
        for _ in 0..100 {
            let client = Sock::tcp4()?;
            client.connect(v4(24_130))??;
            drop(listener.accept()?);
        }
        listener.close()
    }),
    ("accept_by_fifty_threads_that_wait", &[35], || {
        let mut listener = Sock::tcp4()?;
        listener.bind(v4(24_131))??;
        listener.listen(64, false)??;
        let shared = Arc::new(listener);
        let threads: Vec<_> = (0..50)
            .map(|_| {
                let listener = Arc::clone(&shared);
                thread::spawn(move || listener.accept().map(drop))
            })
            .collect();
        // All of them should wait before the first one is served.
        thread::sleep(std::time::Duration::from_millis(300));
        let clients: Result<Vec<_>> = (0..50)
            .map(|_| {
                let client = Sock::tcp4()?;
                client.connect(v4(24_131))??;
                Ok(client)
            })
            .collect();
        let clients = clients?;
        for waiting in threads {
            waiting.join().map_err(|_| anyhow::anyhow!("a thread broke off"))??;
        }
        drop(clients);
        Arc::into_inner(shared)
            .context("a thread still has the listener")?
            .close()
    }),
    ("accept_of_both_families_on_one_listener", &[24], || {
        let mut listener = Sock::tcp6()?;
        listener.bind(any6(24_132))??;
        listener.listen(3, false)??;
        for (client, to) in [(Sock::tcp4()?, v4(24_132)), (Sock::tcp6()?, v6(24_132))] {
            client.connect(to)??;
            drop(listener.accept()?);
        }
        listener.close()
    }),
    ("accept_of_a_client_that_has_reset", &[53], || {
        let mut listener = Sock::tcp4()?;
        listener.bind(v4(24_133))??;
        listener.listen(3, false)??;
        let client = Sock::tcp4()?;
        client.connect(v4(24_133))??;
        let peer = client.local()?;
        rustix::net::sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO))?;
        drop(client);
        // Without asking for the peer's address: the kernel would refuse that.
        drop(rustix::net::accept(&listener)?);
        listener.accepted(Some(peer))?;
        listener.close()
    }),
    ("accept_that_finds_nothing_is_not_reported", &[35], || {
        let mut listener = Sock::tcp4()?;
        listener.bind(v4(24_134))??;
        listener.listen(3, false)??;
        rustix::io::ioctl_fionbio(&listener, true)?;
        for _ in 0..3 {
            anyhow::ensure!(rustix::net::accept(&listener).is_err(), "there was a connection");
        }
        listener.close()
    }),
    ("accept_in_a_child", &[12, 53], || {
        let mut listener = Sock::tcp4()?;
        listener.bind(v4(24_135))??;
        listener.listen(3, false)??;
        let client = Sock::tcp4()?;
        client.connect(v4(24_135))??;
        let descriptor = listener.as_fd().as_raw_fd();
        let opened = listener.opened().cloned();
        raw::wait(raw::in_child(|| {
            // The child's own process id stands in its line.
            let inherited = Sock::from_fd(rustix::io::dup(raw::inherited(descriptor))?, opened);
            drop(inherited.accept()?);
            Ok(())
        })?)?;
        listener.close()
    }),
];
