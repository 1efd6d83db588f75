//! From boot time to wall-clock time.
//!
//! Events carry boot time, which never jumps; people and other systems want the wall clock, which does. The offset
//! between the two is read again at each reconcile.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Readings of the two clocks: the tightest is kept, so that being scheduled away between them does not count.
const SAMPLES: usize = 5;

/// The offset from boot time to the wall clock, as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    offset: i128,
}

impl Clock {
    /// Reads the offset now.
    #[must_use]
    pub fn read() -> Self {
        Self { offset: offset() }
    }

    /// Wall-clock time, in nanoseconds since the Unix epoch, of the moment `boot_ns` nanoseconds after boot.
    #[must_use]
    pub fn wall(self, boot_ns: u64) -> i128 {
        i128::from(boot_ns) + self.offset
    }

    /// Nanoseconds to add to boot time.
    #[must_use]
    pub fn offset(self) -> i128 {
        self.offset
    }
}

/// Nanoseconds from boot to now, suspended time included (`CLOCK_BOOTTIME`): the clock of the kernel's records.
#[must_use]
pub fn boot_now() -> u64 {
    u64::try_from(nanoseconds(clock_gettime(ClockId::Boottime))).unwrap_or(0)
}

/// Nanoseconds to add to boot time (`CLOCK_BOOTTIME`) for wall-clock time (`CLOCK_REALTIME`, since the Unix epoch).
///
/// Exact to the time that one reading of a clock takes, well below a microsecond.
#[must_use]
pub fn offset() -> i128 {
    let mut tightest = i128::MAX;
    let mut offset = 0;
    for _ in 0..SAMPLES {
        let before = nanoseconds(clock_gettime(ClockId::Boottime));
        let wall = nanoseconds(clock_gettime(ClockId::Realtime));
        let after = nanoseconds(clock_gettime(ClockId::Boottime));
        if after - before < tightest {
            tightest = after - before;
            offset = wall - i128::midpoint(before, after);
        }
    }
    offset
}

fn nanoseconds(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn boot_time_plus_the_offset_is_the_wall_clock() {
        let clock = Clock::read();
        let wall = clock.wall(boot_now());
        let now = i128::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        // Both readings happen within this test; a second covers a machine that is busy and a clock that is slewed.
        assert!((now - wall).abs() < 1_000_000_000, "{wall} is not {now}");
    }

    #[test]
    fn two_readings_of_the_offset_agree_within_a_millisecond() {
        assert!((offset() - offset()).abs() < 1_000_000);
    }
}
