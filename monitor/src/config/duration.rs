//! Durations as Prometheus writes them: `15m`, `1h30m`, `90s`, `500ms`.

use std::time::Duration;

/// Reads a duration. Units are ms, s, m, h, d and w, each at most once and the largest first.
pub fn parse(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 6] = [
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let (mut rest, mut total, mut units) = (text, 0u64, UNITS.as_slice());
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, behind) = rest.split_at_checked(digits)?;
        let letters = behind
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(letters)?;
        let position = units.iter().position(|(name, _)| *name == unit)?;
        let (_, milliseconds) = units.get(position)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*milliseconds)?)?;
        units = units.get(position + 1..)?;
        rest = behind;
    }
    Some(Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_writes_them() {
        for (text, seconds) in [
            ("15m", Some(900)),
            ("1h30m", Some(5400)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("1w", Some(604_800)),
        ] {
            assert_eq!(parse(text), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        for text in [
            "",
            "15",
            "m",
            "15 m",
            "1m1h",
            "1m1m",
            "-1s",
            "1y",
            "99999999999999999999s",
            "18446744073709551615w",
            "é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
