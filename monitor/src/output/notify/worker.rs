//! The thread of one receiver: it sends what its outbox says, and waits longer each time that fails.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    client::Failure,
    outbox::{Next, Outbox, Parcel},
};
use crate::identity::clock;

/// What takes a message to a receiver.
pub trait Deliver: Send {
    /// Takes it there.
    ///
    /// # Errors
    /// Why it was not accepted.
    fn deliver(&mut self, parcels: &[Parcel]) -> Result<(), Failure>;
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was accepted.
    Ok,
    /// It was not.
    Error,
}

/// The pauses between two attempts.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// After the first failure, at most.
    pub first: Duration,
    /// After many, at most.
    pub most: Duration,
}

impl Pauses {
    /// Those of an agent.
    pub const USUAL: Self = Self {
        first: Duration::from_millis(250),
        most: Duration::from_secs(30),
    };

    /// The pause after so many failures in a row: anything up to twice the one before, so that not all agents of a fleet come
    /// back at one time. `chance` is from 0 to 1.
    fn after(self, failures: u32, chance: f64) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.most).mul_f64(chance.clamp(0.0, 1.0))
    }
}

/// An outbox that a thread waits at.
#[derive(Debug)]
pub struct Postbox {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    outbox: Outbox,
    stopping: bool,
}

impl Postbox {
    /// Of this outbox.
    pub fn new(outbox: Outbox) -> Self {
        Self {
            state: Mutex::new(State {
                outbox,
                stopping: false,
            }),
            wake: Condvar::new(),
        }
    }

    /// Changes the outbox, and has the thread look at it.
    pub fn with<T>(&self, change: impl FnOnce(&mut Outbox) -> T) -> T {
        let result = change(&mut self.lock().outbox);
        self.wake.notify_one();
        result
    }

    /// Looks into the outbox.
    pub fn read<T>(&self, look: impl FnOnce(&mut Outbox) -> T) -> T {
        look(&mut self.lock().outbox)
    }

    /// Ends the thread once it has tried what is due now.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to send, but not before `pause`. `None` for the end.
    fn wait(&self, pause: Option<u64>) -> Option<Vec<Parcel>> {
        let mut state = self.lock();
        loop {
            let now = clock::boot_now();
            let paused = pause.filter(|until| *until > now);
            if state.stopping && paused.is_some() {
                return None;
            }
            let until = match paused.map_or_else(|| state.outbox.next(now), |until| Next::Wait(Some(until))) {
                Next::Send(parcels) => return Some(parcels),
                Next::Wait(_) if state.stopping => return None,
                Next::Wait(until) => until,
            };
            state = match until {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let wait = Duration::from_nanos(until.saturating_sub(now));
                    let waited = self.wake.wait_timeout(state, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// Sends what the postbox says until it is stopped. `count` is told what came of each message, and of how many alerts.
pub fn run(name: &str, postbox: &Postbox, mut deliver: impl Deliver, pauses: Pauses, count: impl Fn(Sent, u64)) {
    let (mut failures, mut pause, mut refused) = (0u32, None, false);
    while let Some(parcels) = postbox.wait(pause.take()) {
        let alerts = u64::try_from(parcels.len()).unwrap_or(u64::MAX);
        let outcome = deliver.deliver(&parcels);
        let now = clock::boot_now();
        match outcome {
            Ok(()) => {
                postbox.read(|outbox| outbox.accept(&parcels, now));
                count(Sent::Ok, alerts);
                if failures > 0 || refused {
                    ::log::info!(receiver = name; "the receiver takes alerts again");
                }
                (failures, refused) = (0, false);
            }
            Err(Failure::Refused(reason)) => {
                postbox.read(|outbox| outbox.refuse(&parcels, now));
                count(Sent::Error, alerts);
                // It is tried again each minute: once is enough to know.
                if !std::mem::replace(&mut refused, true) {
                    ::log::error!(receiver = name; "the receiver refuses an alert: {reason}");
                }
                failures = 0;
            }
            Err(Failure::Later(least, reason)) => {
                count(Sent::Error, alerts);
                if failures == 0 {
                    ::log::warn!(
                        receiver = name;
                        "the receiver does not take alerts: {reason}; they are sent again until it does"
                    );
                }
                failures = failures.saturating_add(1);
                let wait = pauses.after(failures, chance()).max(least);
                pause = Some(now.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)));
            }
        }
    }
}

/// A number from 0 to 1. The standard library seeds its hash tables with random numbers, and no more is needed here.
fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
