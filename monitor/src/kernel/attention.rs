//! Looking at the ring without being woken.
//!
//! A wake-up is an interrupt in the middle of somebody's system call: measured, it takes longer than all else that the
//! kernel side does. So it wakes the agent for the first record of a burst alone. The agent then says until when it is
//! going to look by itself, every quarter of a millisecond, and puts that off as long as it finds something.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use monitor_common::{ATTENTION_PERIOD, ATTENTION_SPAN};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// When the agent looks for the last time after it said that it would: a record's moment is read before it is in the ring,
/// and the task may be interrupted between the two. What comes still later is found once a second.
const LAST_LOOKS: [u64; 2] = [1_000_000, 20_000_000];

/// What the kernel side was told, and the clock between two looks.
pub(super) struct Attention {
    told: Array<MapData, u64>,
    until: u64,
    timer: AsyncFd<OwnedFd>,
}

impl Attention {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let told = ebpf
            .take_map(".bss.attention")
            .context("the kernel object has no map .bss.attention")?;
        // tokio's own timers count in milliseconds.
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .context("cannot make a timer")?;
        Ok(Self {
            told: Array::try_from(told).context("cannot use the map .bss.attention")?,
            until: 0,
            timer: super::ring::readable(timer).context("cannot wait for a timer")?,
        })
    }

    /// Takes note that there were records; `now` is in nanoseconds since boot.
    pub(super) fn found(&mut self, now: u64) -> Result<()> {
        if let Some(until) = renewed(self.until, now) {
            self.told
                .set(0, until, 0)
                .context("cannot tell the kernel side when the agent looks")?;
            self.until = until;
        }
        Ok(())
    }

    /// Waits until it is time to look again; for ever where the kernel side wakes the agent. `now` is in nanoseconds since
    /// boot.
    pub(super) async fn pause(&mut self, now: u64) -> Result<()> {
        let Some(pause) = until_next_look(self.until, now) else {
            return std::future::pending().await;
        };
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: 0,
                tv_nsec: pause.try_into().unwrap_or(i64::MAX),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).context("cannot set a timer")?;
        let mut guard = self.timer.readable_mut().await.context("cannot wait for a timer")?;
        // Never read: setting it again takes back what it counted.
        guard.clear_ready();
        Ok(())
    }
}

/// Nanoseconds until the next look; `None` where there is none to come.
fn until_next_look(until: u64, now: u64) -> Option<u64> {
    if now < until {
        return Some(ATTENTION_PERIOD);
    }
    let looks = LAST_LOOKS.map(|after| until.saturating_add(after));
    let next = looks.into_iter().find(|look| now < *look)?;
    Some(next - now)
}

/// Until when to look, where that is to be told again: so that it costs a call in a while, and not one for each look.
fn renewed(until: u64, now: u64) -> Option<u64> {
    (until < now.saturating_add(ATTENTION_SPAN / 2)).then(|| now.saturating_add(ATTENTION_SPAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_renewed_when_half_of_it_is_over() {
        let first = renewed(0, 5_000_000_000).unwrap();
        assert_eq!(first, 5_000_000_000 + ATTENTION_SPAN);
        assert_eq!(renewed(first, first - ATTENTION_SPAN / 2), None);
        let later = first - ATTENTION_SPAN / 2 + 1;
        assert_eq!(renewed(first, later), Some(later + ATTENTION_SPAN));
    }

    #[test]
    fn it_looks_until_it_said_and_twice_after() {
        let until = 5_000_000_000;
        assert_eq!(until_next_look(until, until - 1), Some(ATTENTION_PERIOD));
        assert_eq!(until_next_look(until, until), Some(1_000_000));
        assert_eq!(until_next_look(until, until + 1_000_000), Some(19_000_000));
        assert_eq!(until_next_look(until, until + 20_000_000), None);
        assert_eq!(until_next_look(0, until), None);
    }
}
