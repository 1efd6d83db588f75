//! The agent's log on stderr: logfmt or JSON, one line a message, with the message's own fields.

use std::{
    io::{self, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

use env_logger::{Builder, Target};
use jiff::Timestamp;
use log::{
    LevelFilter, Record,
    kv::{Error, Key, Value, VisitSource},
};

use super::writer::{Unwritten, Writer};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `time=… level=… msg="…" key=value`
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Errors alone.
    Error,
    /// Warnings too.
    Warn,
    /// What an operator wants to see.
    Info,
    /// What a developer wants to see.
    Debug,
}

/// What writes the log of an agent that runs: a reader of stderr that stops reading must not hold it up.
static WRITER: Mutex<Option<Writer>> = Mutex::new(None);

/// Lines that found no place.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How long the last lines may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Hands each line to [`WRITER`].
struct Queued;

impl Write for Queued {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned();
        let writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
        match writer.as_ref().map(|writer| writer.write(text)) {
            Some(true) => {}
            Some(false) => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
            // Before the start and after the end somebody may have something to say still.
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the log of an agent that runs: its lines wait in a queue where stderr does not take them. Once; [`finish`] ends it.
///
/// # Errors
/// Where there is no thread to be had.
pub fn start_queued(level: Level, format: Format) -> anyhow::Result<()> {
    // There is nowhere to complain to.
    let writer = Writer::start(io::stderr(), "log", |_| {})?;
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    start_on(level, format, Target::Pipe(Box::new(Queued)));
    Ok(())
}

/// Writes what waits, for a while at most.
pub fn finish() {
    let Some(writer) = WRITER.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    let (done, ended) = channel();
    thread::spawn(move || {
        let _ = writer.finish();
        done.send(())
    });
    let _ = ended.recv_timeout(LAST_WORDS);
}

/// Lines that were dropped or could not be written, since this was last asked.
pub fn take_lost() -> u64 {
    let writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    let unwritten = writer.as_ref().map_or_else(Unwritten::default, Writer::take_unwritten);
    DROPPED.swap(0, Ordering::Relaxed) + unwritten.events
}

/// Starts the log of a command. Once.
pub fn start(level: Level, format: Format) {
    start_on(level, format, Target::Stderr);
}

fn start_on(level: Level, format: Format, target: Target) {
    let filter = match level {
        Level::Error => LevelFilter::Error,
        Level::Warn => LevelFilter::Warn,
        Level::Info => LevelFilter::Info,
        Level::Debug => LevelFilter::Debug,
    };
    let mut builder = Builder::new();
    builder
        .target(target)
        .filter_level(LevelFilter::Warn)
        // What aya warns of comes back as an error, with what to do.
        .filter_module("aya::", LevelFilter::Error)
        .filter_module("portreeve", filter);
    match format {
        Format::Logfmt => builder.format(|out, record| writeln!(out, "{}", logfmt(record, Timestamp::now()))),
        Format::Json => builder.format(|out, record| writeln!(out, "{}", json(record, Timestamp::now()))),
    };
    // A second start (in tests) keeps the first log.
    let _ = builder.try_init();
}

fn logfmt(record: &Record<'_>, time: Timestamp) -> String {
    struct Fields(String);
    impl<'kvs> VisitSource<'kvs> for Fields {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            self.0.push(' ');
            self.0.push_str(key.as_str());
            self.0.push('=');
            self.0.push_str(&quoted(&value.to_string()));
            Ok(())
        }
    }
    let level = record.level().as_str().to_lowercase();
    let message = quoted(&record.args().to_string());
    let mut fields = Fields(format!("time={time:.6} level={level} msg={message}"));
    // The visitor returns no error of its own.
    let _ = record.key_values().visit(&mut fields);
    fields.0
}

/// Bare where that is unmistakable, else in quotes with every control character escaped: names of processes come
/// from strangers.
fn quoted(value: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:,@+%*[]".contains(letter);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}

fn json(record: &Record<'_>, time: Timestamp) -> serde_json::Value {
    struct Fields(serde_json::Map<String, serde_json::Value>);
    impl<'kvs> VisitSource<'kvs> for Fields {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            let value = match (value.to_u64(), value.to_bool()) {
                (Some(number), _) => number.into(),
                (_, Some(truth)) => truth.into(),
                _ => value.to_string().into(),
            };
            self.0.insert(key.as_str().to_owned(), value);
            Ok(())
        }
    }
    let mut fields = Fields(serde_json::Map::new());
    let _ = record.key_values().visit(&mut fields);
    let mut line = serde_json::json!({
        "time": format!("{time:.6}"),
        "level": record.level().as_str().to_lowercase(),
        "msg": record.args().to_string(),
    });
    if let Some(line) = line.as_object_mut() {
        line.extend(fields.0);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_record(test: impl Fn(&Record<'_>)) {
        let fields = [("comm", "evil\u{1b}[31m\nlevel=error"), ("port", "1992")];
        test(
            &Record::builder()
                .level(log::Level::Warn)
                .args(format_args!("it \"listens\""))
                .key_values(&fields)
                .build(),
        );
    }

    #[test]
    fn a_hostile_name_cannot_forge_a_line_or_colour_a_terminal() {
        with_record(|record| {
            let line = logfmt(record, Timestamp::UNIX_EPOCH);
            assert_eq!(
                line,
                r#"time=1970-01-01T00:00:00.000000Z level=warn msg="it \"listens\"" comm="evil\u{1b}[31m\nlevel=error" port=1992"#
            );
            assert!(!line.contains('\n') && !line.contains('\u{1b}'));
        });
    }

    #[test]
    fn json_lines_carry_the_same_fields() {
        with_record(|record| {
            let line = json(record, Timestamp::UNIX_EPOCH);
            assert_eq!(line["msg"], "it \"listens\"");
            assert_eq!(line["level"], "warn");
            assert_eq!(line["port"], "1992");
        });
    }
}
