//! The proof that the agent sees: a listener of its own, whose event must arrive within a second.

use std::{collections::VecDeque, net::TcpListener};

use anyhow::{Context, Result};

use crate::{
    event::{Event, Kind},
    identity::clock,
};

/// How long the event may take: nanoseconds.
const DEADLINE: u64 = 1_000_000_000;

/// Listeners of the self-test whose end is still awaited, at most: an end that is lost must not add up.
const ENDING_MAX: usize = 16;

/// The self-test that runs, if one does, and what is left of earlier ones.
#[derive(Debug, Default)]
pub(super) struct SelfTest {
    running: Option<Running>,
    /// Inodes of listeners whose end is still to come.
    ending: VecDeque<u64>,
}

#[derive(Debug)]
struct Running {
    inode: u64,
    deadline: u64,
    /// Closed when this is dropped, which gives the end.
    _listener: TcpListener,
}

/// What an event is to the self-test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// The event that it waited for: the agent sees.
    Proof,
    /// Another one about a listener of its own.
    Own,
    /// Somebody else's.
    Other,
}

impl SelfTest {
    /// Opens a listener on an automatic port of the loopback interface, and waits for its event from now on.
    pub(super) fn start(&mut self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot open a listener for the self-test")?;
        let inode = rustix::fs::fstat(&listener)
            .context("cannot look at the self-test's listener")?
            .st_ino;
        self.finish();
        self.running = Some(Running {
            inode,
            deadline: clock::boot_now() + DEADLINE,
            _listener: listener,
        });
        Ok(())
    }

    /// When the event is late, in nanoseconds since boot; `None` where none is awaited.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.running.as_ref().map(|running| running.deadline)
    }

    /// Gives up where the event is late, and says whether it was.
    pub(super) fn is_late(&mut self, now: u64) -> bool {
        let late = self.deadline().is_some_and(|deadline| now >= deadline);
        if late {
            self.finish();
        }
        late
    }

    /// Takes note of an event. `own` is the agent's process id, as the kernel side sees it.
    pub(super) fn sees(&mut self, event: &Event, own: u32) -> Sighting {
        let inode = event.socket.inode;
        if event.kind == Kind::Listen && self.running.as_ref().is_some_and(|running| running.inode == inode) {
            self.finish();
            return Sighting::Proof;
        }
        // An inode may serve a stranger's socket by now.
        let known = self
            .ending
            .iter()
            .position(|ending| *ending == inode && event.opener.tgid == own);
        match known {
            None => Sighting::Other,
            Some(place) => {
                if event.kind == Kind::Unlisten {
                    self.ending.remove(place);
                }
                Sighting::Own
            }
        }
    }

    /// Whether this is a listener of the self-test, open or just closed.
    pub(super) fn has(&self, inode: u64) -> bool {
        let is_open = self.running.as_ref().is_some_and(|running| running.inode == inode);
        is_open || self.ending.contains(&inode)
    }

    /// Closes the listener, if there is one; its end is known as the agent's own.
    fn finish(&mut self) {
        if let Some(running) = self.running.take() {
            self.ending.push_back(running.inode);
            if self.ending.len() > ENDING_MAX {
                self.ending.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use monitor_common::{KIND_UNLISTEN, Record};

    use super::*;
    use crate::event::tests::RecordBytes;

    fn of(inode: u64, end: bool) -> Event {
        let mut record = RecordBytes::listen();
        record.put(offset_of!(Record, inode), &inode.to_ne_bytes());
        if end {
            record.put(offset_of!(Record, kind), &KIND_UNLISTEN.to_ne_bytes());
        }
        record.decode()
    }

    #[test]
    fn its_own_listen_is_the_proof_and_its_end_is_nobody_elses_business() {
        let mut selftest = SelfTest::default();
        selftest.start().unwrap();
        let inode = selftest.running.as_ref().unwrap().inode;
        assert_eq!(selftest.sees(&of(inode + 1, false), 812), Sighting::Other);
        assert_eq!(selftest.sees(&of(inode, false), 812), Sighting::Proof);
        assert_eq!(selftest.deadline(), None);
        assert_eq!(selftest.sees(&of(inode, true), 812), Sighting::Own);
        assert_eq!(
            selftest.sees(&of(inode, true), 812),
            Sighting::Other,
            "it has ended already"
        );
    }

    #[test]
    fn a_strangers_socket_with_an_inode_that_was_the_agents_is_a_strangers() {
        let mut selftest = SelfTest::default();
        selftest.start().unwrap();
        let inode = selftest.running.as_ref().unwrap().inode;
        selftest.sees(&of(inode, false), 812);
        assert_eq!(selftest.sees(&of(inode, false), 813), Sighting::Other);
    }

    #[test]
    fn an_event_that_does_not_come_is_late_once() {
        let mut selftest = SelfTest::default();
        selftest.start().unwrap();
        let deadline = selftest.deadline().unwrap();
        assert!(!selftest.is_late(deadline - 1));
        assert!(selftest.is_late(deadline));
        assert!(!selftest.is_late(deadline + 1));
    }
}
