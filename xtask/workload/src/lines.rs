//! Lines that go from one program to another: JSON out of a guest, and the agent's log.

use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes something as one JSON line, at once.
///
/// # Errors
/// Where it cannot be written.
pub fn write(value: &impl Serialize, to: &mut impl Write) -> Result<()> {
    let mut line = serde_json::to_string(value).context("cannot make a JSON line")?;
    line.push('\n');
    to.write_all(line.as_bytes())
        .and_then(|()| to.flush())
        .context("cannot write a JSON line")
}

/// What was written so, other lines left out. The last line may be cut where its writer was ended.
///
/// # Errors
/// Where another one is not what it should be.
pub fn read<T: DeserializeOwned>(written: &str) -> Result<Vec<T>> {
    let lines: Vec<&str> = written.lines().filter(|line| line.starts_with('{')).collect();
    let mut all = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(value) => all.push(value),
            Err(_) if index + 1 == lines.len() => {}
            Err(error) => return Err(error).with_context(|| format!("a line is not what was to be written: {line}")),
        }
    }
    Ok(all)
}

/// The value of a field of a logfmt line, without quotes; only for values that hold no space.
///
/// # Errors
/// Where there is no such field.
pub fn log_field<'a>(line: &'a str, field: &str) -> Result<&'a str> {
    line.split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .find_map(|(name, value)| (name == field).then_some(value))
        .with_context(|| format!("the agent's log line has no {field}: {}", line.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::{log_field, read, write};
    use crate::plan::Turn;

    #[test]
    fn a_last_line_that_is_cut_is_left_out_and_another_is_an_error() {
        let whole = r#"{"tool":null,"repetition":0,"refusal":null,"cells":[],"cost":null,"told":[]}"#;
        let turns: Vec<Turn> = read(&format!("{whole}\r\nnoise\n{whole}\n{{\"tool\":\"sol")).unwrap();
        assert_eq!(turns.len(), 2);
        assert!(read::<Turn>(&format!("{{\"tool\"\n{whole}\n")).is_err());
    }

    #[test]
    fn what_was_written_is_read() {
        let mut written = Vec::new();
        for count in [1, 2] {
            write(&serde_json::json!({ "count": count }), &mut written).unwrap();
        }
        let lines: Vec<serde_json::Value> = read(&String::from_utf8(written).unwrap()).unwrap();
        assert_eq!(lines.iter().filter_map(|line| line["count"].as_u64()).sum::<u64>(), 3);
    }

    #[test]
    fn a_field_of_the_log_is_found_by_its_whole_name() {
        let line = "time=1 level=info msg=\"serving http://127.0.0.1:1/metrics\" address=127.0.0.1:40123\n";
        assert_eq!(log_field(line, "address").unwrap(), "127.0.0.1:40123");
        assert!(log_field(line, "backend").is_err());
    }
}
