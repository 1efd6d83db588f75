//! Sizes of files: `64MiB`, `1GiB`, `500MB`.

/// Reads a size in bytes. Units are B, KiB, MiB, GiB and KB, MB, GB; a number alone is bytes.
pub fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
#[test]
fn sizes_are_read_with_their_units() {
    for (text, bytes) in [
        ("64MiB", Some(64 << 20)),
        ("1GiB", Some(1 << 30)),
        ("500MB", Some(500_000_000)),
        ("4096", Some(4_096)),
        ("7B", Some(7)),
        ("", None),
        ("MiB", None),
        ("64 MiB", None),
        ("64mib", None),
        ("-1", None),
        ("1.5GiB", None),
        ("99999999999GiB", None),
    ] {
        assert_eq!(parse(text), bytes, "{text}");
    }
}
