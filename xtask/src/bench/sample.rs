//! Times that were measured again and again.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

/// Durations in order, at least one.
#[derive(Debug)]
pub(super) struct Sample {
    sorted: Vec<Duration>,
    median: Duration,
    least: Duration,
    greatest: Duration,
}

impl Sample {
    /// Sorts what was measured.
    ///
    /// # Errors
    /// Where nothing was.
    pub(super) fn new(mut sorted: Vec<Duration>) -> Result<Self> {
        sorted.sort_unstable();
        let missing = "there is no figure, since nothing was measured";
        let (least, greatest) = (sorted.first().context(missing)?, sorted.last().context(missing)?);
        Ok(Self {
            median: ranked(&sorted, 500).context(missing)?,
            least: *least,
            greatest: *greatest,
            sorted,
        })
    }

    /// The least of them that at least so many in a thousand do not exceed (nearest rank).
    pub(super) fn per_mille(&self, part: usize) -> Duration {
        ranked(&self.sorted, part).unwrap_or(self.greatest)
    }

    /// Half of them are not greater.
    pub(super) fn median(&self) -> Duration {
        self.median
    }

    /// The least, the greatest, and how many there are.
    pub(super) fn range(&self) -> String {
        format!(
            "min {}, max {}, {} times",
            Shown(self.least),
            Shown(self.greatest),
            self.sorted.len()
        )
    }
}

fn ranked(sorted: &[Duration], part: usize) -> Option<Duration> {
    let rank = (sorted.len() * part).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied()
}

/// How a figure came out in the repetitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) greatest: f64,
    pub(super) times: usize,
}

impl Spread {
    /// Of at least one figure.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: *sorted.get(sorted.len() / 2)?,
            least: *sorted.first()?,
            greatest: *sorted.last()?,
            times: sorted.len(),
        })
    }
}

/// A duration as people read it: three digits or so.
pub(super) struct Shown(pub(super) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let (value, unit) = match seconds {
            1.0.. => (seconds, "s"),
            0.001.. => (seconds * 1e3, "ms"),
            _ => (seconds * 1e6, "µs"),
        };
        match value {
            100.0.. => write!(f, "{value:.0} {unit}"),
            10.0.. => write!(f, "{value:.1} {unit}"),
            _ => write!(f, "{value:.2} {unit}"),
        }
    }
}

/// How often the second goes into the first.
pub(super) fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Sample, Shown, Spread, ratio};

    fn sample(microseconds: impl IntoIterator<Item = u64>) -> Sample {
        Sample::new(microseconds.into_iter().map(Duration::from_micros).collect()).unwrap()
    }

    #[test]
    fn percentiles_are_times_that_were_measured_by_nearest_rank() {
        let hundred = sample((1..=100).rev());
        assert_eq!(hundred.median(), Duration::from_micros(50));
        assert_eq!(hundred.per_mille(990), Duration::from_micros(99));
        assert_eq!(hundred.per_mille(1000), Duration::from_micros(100));
        assert_eq!(hundred.range(), "min 1.00 µs, max 100 µs, 100 times");
    }

    #[test]
    fn of_few_times_the_ninety_ninth_percentile_is_the_greatest() {
        assert_eq!(sample([3, 1, 2]).per_mille(990), Duration::from_micros(3));
        let one = sample([7]);
        assert_eq!(
            (one.median(), one.per_mille(0)),
            (one.per_mille(990), one.per_mille(1000))
        );
    }

    #[test]
    fn nothing_measured_is_no_sample() {
        assert!(Sample::new(Vec::new()).is_err());
    }

    #[test]
    fn durations_are_shown_in_the_unit_that_fits() {
        for (nanoseconds, shown) in [
            (840, "0.84 µs"),
            (87_400, "87.4 µs"),
            (999_000, "999 µs"),
            (1_000_000, "1.00 ms"),
            (62_000_000, "62.0 ms"),
            (4_250_000_000, "4.25 s"),
        ] {
            assert_eq!(Shown(Duration::from_nanos(nanoseconds)).to_string(), shown);
        }
    }

    #[test]
    fn a_ratio_to_nothing_is_finite() {
        assert!((ratio(Duration::from_millis(3), Duration::from_millis(2)) - 1.5).abs() < 1e-9);
        assert!(ratio(Duration::from_millis(3), Duration::ZERO).is_finite());
    }

    #[test]
    fn of_nothing_there_is_no_spread() {
        assert_eq!(Spread::of([]), None);
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.least, spread.median, spread.greatest), (1.0, 2.0, 3.0));
    }
}
