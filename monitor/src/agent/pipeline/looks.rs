//! What looks at all that listens find is merged with what events told.

use super::Pipeline;
use crate::{
    agent::{decode, looks::Done, seconds},
    event::{Event, Holder, Kind, Outcome, Protocol, Source},
    history::End,
    identity::clock,
    inventory::{
        Change, Listener,
        reconcile::{Differences, Sighted},
    },
    output::{Origin, Report, http::lock},
};

impl Pipeline {
    /// Whether all that listens should be looked at: something was lost, or it is time. Asked once a second.
    pub(in crate::agent) fn wants_look(&mut self) -> bool {
        self.reconcile.is_due()
    }

    /// A look begins. What is reported meanwhile has to be taken before [`Pipeline::merge`] is called: it knows more.
    pub(in crate::agent) fn look_begins(&mut self) {
        self.reconcile.begin();
    }

    /// The look broke off.
    pub(in crate::agent) fn look_failed(&mut self) {
        self.reconcile.fail();
    }

    /// Takes what a look found.
    pub(in crate::agent) fn merge(&mut self, done: Done) {
        let now = clock::boot_now();
        if done.undecodable > 0 {
            self.lose("decode", done.undecodable);
        }
        if done.unseen != self.unseen_namespaces {
            if !done.unseen.is_empty() {
                ::log::warn!(
                    "network namespaces that cannot be looked into: {} ({})",
                    done.unseen.len(),
                    done.unseen.join("; ")
                );
            }
            self.unseen_namespaces = done.unseen;
        }
        let is_first = self.first_look.is_none();
        self.first_look.get_or_insert(now);
        let (pending, sees_udp, selftest) = (&self.pending, self.sees_udp, &self.selftest);
        let waits = |event: &Event| {
            // One that is late is told by the kernel side's map, where a hook takes it out at its end.
            let is_told = event.late && event.source == Source::OpenFiles && sees_udp;
            is_told || pending.has(&event.socket) || selftest.has(event.socket.inode)
        };
        let Differences {
            missed,
            existing,
            ended,
        } = self.reconcile.merge(done.look, &mut self.inventory, waits, now);
        let (mut before, mut missing, mut gone) = (0, 0, 0);
        for key in ended {
            if let Some(listener) = self.inventory.remove(key) {
                gone += u64::from(self.is_told(listener.opened.socket.protocol));
                self.ended_unseen(listener, now);
            }
        }
        for Sighted { mut event, holders } in existing {
            // It was there at the first look, whenever it was certain.
            event.opened = event.opened.min(self.first_look.unwrap_or(now));
            if self.take_found(event, holders) {
                before += 1;
            }
        }
        for Sighted { event, holders } in missed {
            let protocol = event.socket.protocol;
            if self.take_found(event, holders) && self.is_told(protocol) {
                missing += 1;
            }
        }
        if is_first {
            // Before that, what an earlier agent left open may still be there.
            self.history.settled();
        }
        lock(&self.metrics).looked(seconds(self.clock, now), done.took as f64 / 1e9);
        if is_first {
            ::log::info!(listeners = before; "what listened before is known");
        }
        self.drifted("missed", missing);
        self.drifted("ended", gone);
        for (_, known) in self.inventory.known_mut() {
            self.processes.name_image(&mut known.report.process);
        }
        if is_first {
            self.end_alerts_of_another_boot();
            // Those that fired before, too.
            self.count_alerts();
        }
    }

    /// Whether hooks tell of listeners of this protocol, so that one that they did not tell of is a difference: of UDP the
    /// tracepoint tells nothing, and looks are all there is.
    fn is_told(&self, protocol: Protocol) -> bool {
        protocol == Protocol::Tcp || self.sees_udp
    }

    fn take_found(&mut self, event: Event, holders: Vec<Holder>) -> bool {
        let key = event.socket.key;
        let is_new = self.found(event);
        if is_new {
            self.inventory.held_by(key, holders);
        }
        is_new
    }

    /// Takes a listener that was found. Says whether it was not known.
    pub(super) fn found(&mut self, event: Event) -> bool {
        let Change::Opened { event, replaced } = self.inventory.apply(event) else {
            return false;
        };
        self.replaced(replaced, event.time);
        self.opened(*event);
        true
    }

    /// UDP sockets on ports that nothing names, which count by now.
    pub(super) fn bound_for_long(&mut self, now: u64) {
        if !self.sees_udp {
            // Nobody would take them out of the map: looks tell of them.
            return;
        }
        match self.bound_udp.due(now) {
            Ok(records) => {
                for event in records.iter().filter_map(|record| decode(record.bytes())) {
                    if event.is_found() {
                        self.found(event);
                    } else {
                        self.settled(event);
                    }
                }
            }
            Err(error) => ::log::error!("{error:#}"),
        }
    }

    /// How the agent came to know what an event tells.
    pub(super) fn origin_of(&self, event: &Event) -> Origin {
        let is_later = self.first_look.is_some_and(|first| event.opened > first);
        match event.source {
            Source::Hook => Origin::Event,
            Source::OpenFiles | Source::Tables if !is_later => Origin::Existing,
            Source::OpenFiles | Source::Tables | Source::End => Origin::Reconciled,
        }
    }

    /// Counts and tells what the inventory had wrong.
    fn drifted(&mut self, kind: &'static str, count: u64) {
        if count == 0 {
            return;
        }
        lock(&self.metrics).drifted(kind, count);
        ::log::warn!(kind = kind, count = count; "the inventory was wrong");
        let line = self.lines.drift(kind, count, clock::boot_now(), self.clock);
        self.write(line);
    }

    /// Tells the end of a listener, if there was one, whose memory another one has at this time.
    pub(super) fn replaced(&mut self, listener: Option<Box<Listener<super::Known>>>, now: u64) {
        if let Some(listener) = listener {
            self.ended_unseen(*listener, now);
        }
    }

    /// Tells the end of a listener that nobody reported: it was found out at this time.
    fn ended_unseen(&mut self, listener: Listener<super::Known>, now: u64) {
        self.forget(&listener);
        self.remember_end(&listener, now, End::Found);
        let report = Report {
            origin: Origin::Reconciled,
            ..listener.known.report
        };
        self.tell(&end_of(&listener.opened, now), &report);
    }
}

/// The end of a listener that nobody reported: now, and by nobody known.
fn end_of(opened: &Event, now: u64) -> Event {
    Event {
        kind: Kind::Unlisten,
        time: now,
        outcome: Outcome::Succeeded,
        holder: (0, String::new()),
        ..opened.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::RecordBytes;

    #[test]
    fn an_end_that_nobody_reported_has_no_holder() {
        let end = end_of(&RecordBytes::listen().decode(), 7);
        assert_eq!((end.kind, end.time, end.holder.0), (Kind::Unlisten, 7, 0));
    }
}
