//! Times on the command line: so long ago, or a date.

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::{config::duration, exit::UsageError};

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So many nanoseconds ago.
    Ago(i64),
    /// Nanoseconds since the Unix epoch.
    At(i64),
}

impl Moment {
    /// In nanoseconds since the Unix epoch, as of a time.
    pub fn before(self, now: Timestamp) -> i64 {
        match self {
            Self::Ago(span) => nanoseconds(now).saturating_sub(span),
            Self::At(at) => at,
        }
    }

    /// The same, of what is asked for from there on. `flag` is what it was given with.
    ///
    /// # Errors
    /// Where it lies ahead: what listens now would be shown as if it answered that.
    pub fn passed(self, flag: &str, now: Timestamp) -> Result<i64, UsageError> {
        let at = self.before(now);
        if at <= nanoseconds(now) {
            return Ok(at);
        }
        Err(UsageError(format!(
            "{flag} lies ahead: it is {} in UTC; write a time that has passed, or how long ago (7d, 12h)",
            now.strftime("%Y-%m-%d %H:%M")
        )))
    }
}

/// Reads a span (7d), a time (2026-11-23T03:20:00Z) or, in UTC, a date with or without a time of day.
pub fn parse(text: &str) -> Result<Moment, String> {
    if let Some(span) = duration::parse(text) {
        return Ok(Moment::Ago(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)));
    }
    let zoned = text.parse::<Timestamp>().ok();
    let in_utc = || {
        let time = text.parse::<civil::DateTime>().ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    match zoned.or_else(in_utc) {
        Some(time) => Ok(Moment::At(nanoseconds(time))),
        None => {
            Err("write how long ago (7d, 12h, 90m), or a time in UTC (2026-11-23, 2026-11-23T03:20:00Z)".to_owned())
        }
    }
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[test]
fn a_moment_is_a_span_or_a_time() {
    let day = 86_400_000_000_000;
    assert_eq!(parse("7d"), Ok(Moment::Ago(7 * day)));
    assert_eq!(parse("1970-01-02"), Ok(Moment::At(day)));
    assert_eq!(parse("1970-01-02T00:00:00Z"), Ok(Moment::At(day)));
    assert_eq!(parse("1970-01-02T01:00:00+01:00"), Ok(Moment::At(day)));
    assert_eq!(parse("1970-01-02 00:00"), Ok(Moment::At(day)));
    for text in ["", "yesterday", "7", "7 days", "2026-13-01"] {
        assert!(parse(text).is_err(), "{text}");
    }
    let now = Timestamp::from_nanosecond(i128::from(3 * day)).unwrap();
    assert_eq!(Moment::Ago(day).before(now), 2 * day);
    assert_eq!(Moment::At(3 * day).passed("--since", now).unwrap(), 3 * day);
    assert_eq!(
        Moment::At(3 * day + 1).passed("--since", now).unwrap_err().to_string(),
        "--since lies ahead: it is 1970-01-04 00:00 in UTC; write a time that has passed, or how long ago (7d, 12h)"
    );
}
