//! io_uring: one operation at a time, submitted and waited for.

use std::{
    net::SocketAddr,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result};
use io_uring::{IoUring, Probe, opcode, squeue, types::Fd};
use rustix::net::addr::SocketAddrArg;

/// How operations are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Where they are submitted.
    Here,
    /// By a worker, always.
    Async,
    /// Taken from the queue by a thread of the kernel.
    Polled,
}

/// A ring.
pub struct Ring {
    ring: IoUring,
    flags: squeue::Flags,
    probe: Probe,
}

impl Ring {
    /// A ring that works in this way; an error where the kernel has no io_uring, or forbids it.
    pub fn new(work: Work) -> Result<Self> {
        let mut builder = IoUring::builder();
        if work == Work::Polled {
            builder.setup_sqpoll(1_000);
        }
        let ring = builder.build(8).context("io_uring is not to be had")?;
        let mut probe = Probe::new();
        ring.submitter()
            .register_probe(&mut probe)
            .context("io_uring cannot be asked what it can")?;
        let flags = if work == Work::Async {
            squeue::Flags::ASYNC
        } else {
            squeue::Flags::empty()
        };
        Ok(Self { ring, flags, probe })
    }

    /// Whether it knows bind and listen.
    pub fn listens(&self) -> bool {
        self.probe.is_supported(opcode::Listen::CODE) && self.probe.is_supported(opcode::Bind::CODE)
    }

    fn run(&mut self, entry: squeue::Entry) -> Result<i32> {
        let entry = entry.flags(self.flags);
        // SAFETY: what the entry points to lives until the completion is here, which this waits for.
        unsafe { self.ring.submission().push(&entry) }.context("the queue is full")?;
        self.ring.submit_and_wait(1)?;
        let completion = self.ring.completion().next().context("no completion")?;
        Ok(completion.result())
    }

    /// `bind()`; what it returned.
    pub fn bind(&mut self, socket: RawFd, address: &SocketAddr) -> Result<i32> {
        with_address(address, |pointer, length| {
            self.run(opcode::Bind::new(Fd(socket), pointer, length).build())
        })
    }

    /// `listen()`; what it returned.
    pub fn listen(&mut self, socket: RawFd, backlog: i32) -> Result<i32> {
        self.run(opcode::Listen::new(Fd(socket), backlog).build())
    }

    /// `connect()`; what it returned.
    pub fn connect(&mut self, socket: RawFd, address: &SocketAddr) -> Result<i32> {
        with_address(address, |pointer, length| {
            self.run(opcode::Connect::new(Fd(socket), pointer, length).build())
        })
    }

    /// `accept()`: the connection.
    pub fn accept(&mut self, socket: RawFd) -> Result<OwnedFd> {
        let entry = opcode::Accept::new(Fd(socket), std::ptr::null_mut(), std::ptr::null_mut()).build();
        let descriptor = self.run(entry)?;
        anyhow::ensure!(descriptor >= 0, "accept by io_uring failed: {descriptor}");
        // SAFETY: the kernel has just made it for this process.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }
}

fn with_address(
    address: &SocketAddr,
    run: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> Result<i32>,
) -> Result<i32> {
    // SAFETY: pointer and length are those of an address that outlives the closure.
    unsafe { address.with_sockaddr(|pointer, length| run(pointer.cast(), length)) }
}
