//! The same by io_uring, where the kernel knows how.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    Scenario, Unavailable,
    raw::{Ring, Work},
    sock::{Sock, say, set, v4},
};

pub const ALL: &[Scenario] = &[
    ("io_uring_bind_and_listen", &[15, 61], || listens(Work::Here, 24_150)),
    ("io_uring_bind_and_listen_async", &[15, 61], || {
        listens(Work::Async, 24_151)
    }),
    ("io_uring_bind_and_listen_polled", &[15, 61], || {
        listens(Work::Polled, 24_152)
    }),
    ("io_uring_connect_and_accept", &[15, 61], || {
        connects(Work::Here, 24_153)
    }),
    ("io_uring_connect_and_accept_async", &[15, 61], || {
        connects(Work::Async, 24_154)
    }),
    ("io_uring_connect_and_accept_polled", &[15, 61], || {
        connects(Work::Polled, 24_155)
    }),
];

fn ring(work: Work) -> Result<Ring> {
    Ok(Ring::new(work).map_err(|error| Unavailable(format!("{error:#}")))?)
}

/// The line of a call that a worker makes: which thread that was, this program does not know; which process, it does, but
/// for kernels before 5.12, whose workers are threads of the kernel.
fn by_worker(mut line: serde_json::Value, work: Work) -> serde_json::Value {
    if work != Work::Here {
        if let Some(process) = line.get_mut("process").and_then(serde_json::Value::as_object_mut) {
            process.remove("tid");
            process.remove("thread");
        }
        set(&mut line, "by_worker", json!(true));
    }
    line
}

fn listens(work: Work, port: u16) -> Result<()> {
    let mut ring = ring(work)?;
    if !ring.listens() {
        return Err(Unavailable("its io_uring knows no bind and listen (before 6.11)".to_owned()).into());
    }
    let sock = Sock::tcp4()?;
    let descriptor = sock.as_fd().as_raw_fd();
    let bound = ring.bind(descriptor, &v4(port))?;
    ensure!(bound == 0, "bind gave {bound}");
    let mut bind = sock.line("bind", v4(port))?;
    set(&mut bind, "automatic", false.into());
    say(&by_worker(bind, work));
    let listening = ring.listen(descriptor, 5)?;
    ensure!(listening == 0, "listen gave {listening}");
    let mut listen = sock.line("listen", v4(port))?;
    set(&mut listen, "backlog", 5.into());
    let listen = by_worker(listen, work);
    say(&listen);
    let fd = rustix::io::dup(&sock)?;
    drop(sock);
    Sock::from_fd(fd, Some(listen)).close()
}

fn connects(work: Work, port: u16) -> Result<()> {
    let mut ring = ring(work)?;
    let mut listener = Sock::tcp4()?;
    listener.bind(v4(port))??;
    listener.listen(5, false)??;
    let client = Sock::tcp4()?;
    let connected = ring.connect(client.as_fd().as_raw_fd(), &v4(port))?;
    ensure!(connected == 0, "connect gave {connected}");
    let mut connect = client.line("connect", v4(port))?;
    let local = client.local()?;
    set(
        &mut connect,
        "local",
        json!({"address": local.ip(), "port": local.port()}),
    );
    say(&by_worker(connect, work));
    drop(ring.accept(listener.as_fd().as_raw_fd())?);
    let mut accept = listener.line("accept", v4(port))?;
    set(
        &mut accept,
        "peer",
        json!({"address": local.ip(), "port": local.port()}),
    );
    say(&by_worker(accept, work));
    listener.close()
}
