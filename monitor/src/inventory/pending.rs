//! Listens that are not confirmed yet.
//!
//! The tracepoint fires while `listen()` is still at work: the state is LISTEN before the port is taken, and goes
//! back to CLOSE where that fails. So such a listen waits here until a look at the kernel's listening sockets finds it, or
//! its end tells how it went.

use std::{collections::HashMap, time::Duration};

use crate::event::{Event, Outcome, Socket, SocketKey};

/// Listens that wait at most; the oldest is let go unconfirmed to make room.
const WAITING_MAX: usize = 4_096;

/// How long a look may find nothing before the listen is reported without a result.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a namespace may stay closed to looks: it is as a rule because the process that was in it has ended, and then the
/// end of its socket, which tells how the listen went, is about to be read.
const PATIENCE_UNSEEN: Duration = Duration::from_millis(100);

/// Looks that follow one another at once: `listen()` ends within microseconds of the event.
const EAGER_LOOKS: u32 = 3;

/// The longest wait between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// What a look at the kernel's listening sockets said of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It listens, on this port.
    Listening {
        /// The port, which is not known before where it is automatic.
        port: u16,
        /// Its cookie; 0 where the look does not tell.
        cookie: u64,
    },
    /// It does not listen (yet).
    NotListening,
    /// The namespace could not be looked into.
    Unseen,
}

#[derive(Debug)]
struct Waiting {
    event: Event,
    /// When it came in. Its own time may be long past where the reader has fallen behind, and then its end is still
    /// to be read.
    since: u64,
    looks: u32,
    next: u64,
}

/// The waiting listens.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: HashMap<SocketKey, Waiting>,
}

impl Pending {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives back room that is not needed now.
    pub fn shrink(&mut self) {
        self.waiting.shrink_to_fit();
    }

    /// Whether a listen on this socket waits: by its key, else by its inode, which is all that the kernel's tables show.
    pub fn has(&self, socket: &Socket) -> bool {
        let is_it = |event: &Event| event.socket.netns == socket.netns && event.socket.inode == socket.inode;
        self.waiting.contains_key(&socket.key) || self.waiting.values().any(|waiting| is_it(&waiting.event))
    }

    /// Takes a listen in. What it pushes out comes back: a listen on the same socket, or, when there are too many, the
    /// oldest. Its result stays unknown.
    #[must_use]
    pub fn hold(&mut self, event: Event, now: u64) -> Option<Event> {
        let key = event.socket.key;
        let mut pushed = self.waiting.insert(
            key,
            Waiting {
                event,
                since: now,
                looks: 0,
                next: now,
            },
        );
        if self.waiting.len() > WAITING_MAX {
            let oldest = self
                .waiting
                .iter()
                .min_by_key(|(_, waiting)| waiting.event.time)
                .map(|(key, _)| *key);
            pushed = oldest.and_then(|key| self.waiting.remove(&key));
        }
        pushed.map(|waiting| waiting.event)
    }

    /// The listens to look for now.
    pub fn due(&self, now: u64) -> impl Iterator<Item = &Event> {
        self.waiting
            .values()
            .filter(move |waiting| waiting.next <= now)
            .map(|waiting| &waiting.event)
    }

    /// When to look next, in nanoseconds since boot; `None` where nothing waits.
    pub fn next_look(&self) -> Option<u64> {
        self.waiting.values().map(|waiting| waiting.next).min()
    }

    /// Takes what a look said. Returns the listen once it is settled, or patience is at its end.
    #[must_use]
    pub fn looked(&mut self, key: SocketKey, look: Look, now: u64) -> Option<Event> {
        let waiting = self.waiting.get_mut(&key)?;
        match look {
            Look::Listening { port, cookie } => {
                waiting.event.outcome = Outcome::Succeeded;
                waiting.event.socket.port = port;
                if cookie != 0 {
                    waiting.event.socket.cookie = Some(cookie);
                }
            }
            Look::NotListening | Look::Unseen => {
                let patience = if look == Look::Unseen {
                    PATIENCE_UNSEEN
                } else {
                    PATIENCE
                };
                if now.saturating_sub(waiting.since) < nanoseconds(patience) {
                    waiting.looks += 1;
                    waiting.next = now + pause(waiting.looks);
                    return None;
                }
            }
        }
        self.waiting.remove(&key).map(|waiting| waiting.event)
    }

    /// Takes the end of a socket: what it says about a listen that waits. Where it does not tell whether there was a listener,
    /// the listen stays unconfirmed.
    #[must_use]
    pub fn ended(&mut self, end: &Event) -> Option<Event> {
        let waiting = self.waiting.get(&end.socket.key)?;
        if !waiting.event.socket.may_be(&end.socket) {
            return None;
        }
        let mut event = self.waiting.remove(&end.socket.key)?.event;
        match end.had_listened() {
            Some(true) => {
                event.outcome = Outcome::Succeeded;
                event.socket.port = end.socket.port;
            }
            Some(false) => event.outcome = Outcome::Failed(None),
            None if end.socket.port != 0 => event.socket.port = end.socket.port,
            None => {}
        }
        Some(event)
    }
}

fn pause(looks: u32) -> u64 {
    if looks < EAGER_LOOKS {
        return 0;
    }
    let doubled = Duration::from_millis(1).saturating_mul(1 << (looks - EAGER_LOOKS).min(10));
    nanoseconds(doubled.min(LONGEST_PAUSE))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use monitor_common::{FLAG_AGAIN, FLAG_LISTENED, FLAG_REFUSED, FLAG_UNCONFIRMED, KIND_UNLISTEN, Record};

    use super::*;
    use crate::event::tests::RecordBytes;

    const NOW: u64 = 5_000_000_000;

    fn listen(socket: u64) -> Event {
        let mut record = RecordBytes::listen();
        record.put(offset_of!(Record, socket), &socket.to_ne_bytes());
        record.put(offset_of!(Record, flags), &FLAG_UNCONFIRMED.to_ne_bytes());
        record.put(offset_of!(Record, port), &0u16.to_ne_bytes());
        record.decode()
    }

    /// What the tracepoint tells of an end, by the opener unless the test changes that.
    fn end(socket: u64, flags: u32) -> Event {
        let flags = flags | FLAG_UNCONFIRMED;
        let mut record = RecordBytes::listen();
        record.put(offset_of!(Record, socket), &socket.to_ne_bytes());
        record.put(offset_of!(Record, kind), &KIND_UNLISTEN.to_ne_bytes());
        record.put(offset_of!(Record, flags), &flags.to_ne_bytes());
        record.put(offset_of!(Record, port), &40_000u16.to_ne_bytes());
        let mut end = record.decode();
        (end.time, end.holder.0) = (end.opened, end.opener.tgid);
        end
    }

    fn holding(socket: u64) -> Pending {
        let mut pending = Pending::default();
        assert_eq!(pending.hold(listen(socket), NOW), None);
        pending
    }

    #[test]
    fn a_look_that_finds_it_settles_the_listen_and_its_automatic_port() {
        let mut pending = holding(1);
        let settled = pending
            .looked(
                SocketKey::new(1),
                Look::Listening {
                    port: 40_000,
                    cookie: 9,
                },
                NOW,
            )
            .unwrap();
        assert_eq!((settled.outcome, settled.socket.port), (Outcome::Succeeded, 40_000));
        assert_eq!(settled.socket.cookie, Some(9));
        assert!(pending.is_empty());
    }

    #[test]
    fn a_look_that_comes_too_early_is_repeated_ever_more_slowly_until_patience_ends() {
        let mut pending = holding(1);
        let (mut now, mut looks) = (NOW, 0);
        let unsettled = loop {
            looks += 1;
            assert!(looks < 100, "patience has no end");
            if let Some(event) = pending.looked(SocketKey::new(1), Look::NotListening, now) {
                break event;
            }
            now = pending.next_look().unwrap().max(now + 1);
        };
        assert_eq!(unsettled.outcome, Outcome::Unconfirmed);
        assert!(
            now - NOW >= 1_000_000_000 && looks > 10,
            "{looks} looks in {} ns",
            now - NOW
        );
    }

    #[test]
    fn patience_counts_from_when_the_listen_was_read_not_from_when_it_happened() {
        let mut pending = Pending::default();
        let much_later = NOW + 60_000_000_000;
        assert_eq!(pending.hold(listen(1), much_later), None);
        assert_eq!(pending.looked(SocketKey::new(1), Look::NotListening, much_later), None);
        assert_eq!(
            pending.ended(&end(1, FLAG_LISTENED)).unwrap().outcome,
            Outcome::Succeeded
        );
    }

    #[test]
    fn a_namespace_that_cannot_be_seen_leaves_the_result_unknown_unless_the_end_tells() {
        let mut pending = holding(1);
        let (last, late) = (
            NOW + nanoseconds(PATIENCE_UNSEEN) - 1,
            NOW + nanoseconds(PATIENCE_UNSEEN),
        );
        assert_eq!(pending.looked(SocketKey::new(1), Look::Unseen, last), None);
        let event = pending.looked(SocketKey::new(1), Look::Unseen, late).unwrap();
        assert_eq!(event.outcome, Outcome::Unconfirmed);
        let mut pending = holding(1);
        assert_eq!(pending.looked(SocketKey::new(1), Look::Unseen, last), None);
        assert_eq!(
            pending.ended(&end(1, FLAG_LISTENED)).unwrap().outcome,
            Outcome::Succeeded
        );
    }

    #[test]
    fn a_close_proves_that_it_had_listened_and_tells_the_port() {
        let settled = holding(1).ended(&end(1, FLAG_LISTENED)).unwrap();
        assert_eq!((settled.outcome, settled.socket.port), (Outcome::Succeeded, 40_000));
    }

    #[test]
    fn the_end_of_what_never_listened_is_a_failed_listen() {
        assert_eq!(
            holding(1).ended(&end(1, FLAG_REFUSED)).unwrap().outcome,
            Outcome::Failed(None)
        );
    }

    #[test]
    fn one_that_another_process_ends_had_listened_and_of_one_that_had_before_nothing_is_known() {
        let mut by_another = end(1, 0);
        by_another.holder.0 += 1;
        let settled = holding(1).ended(&by_another).unwrap();
        assert_eq!((settled.outcome, settled.socket.port), (Outcome::Succeeded, 40_000));
        let settled = holding(1).ended(&end(1, FLAG_AGAIN)).unwrap();
        assert_eq!((settled.outcome, settled.socket.port), (Outcome::Unconfirmed, 40_000));
    }

    #[test]
    fn an_end_of_what_does_not_wait_settles_nothing() {
        assert_eq!(holding(1).ended(&end(2, FLAG_LISTENED)), None);
    }

    #[test]
    fn the_oldest_makes_room_when_too_many_wait() {
        let mut pending = Pending::default();
        for socket in 0..=WAITING_MAX as u64 {
            let mut event = listen(socket);
            event.time = NOW + socket;
            let pushed = pending.hold(event, NOW);
            assert_eq!(pushed.is_some(), socket == WAITING_MAX as u64);
            assert!(pushed.is_none_or(|event| event.time == NOW));
        }
    }

    #[test]
    fn a_second_listen_on_a_socket_pushes_the_first_out() {
        let mut pending = holding(1);
        assert_eq!(pending.hold(listen(1), NOW).unwrap().outcome, Outcome::Unconfirmed);
    }
}
