//! `[history]`: whether what listens is kept in a file, and how much of it.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    document::{Table, any, replace},
    duration, size,
};

/// How long what ended is kept where the configuration does not say: 30 days.
const KEEP: Duration = Duration::from_secs(30 * 86_400);

/// Less would be gone before somebody can look, and more is a slip: from an hour to ten years.
const KEEPS: RangeInclusive<Duration> = Duration::from_secs(3_600)..=Duration::from_secs(3_650 * 86_400);

/// What the file may take where the configuration does not say: 64 MiB.
const MAX_SIZE: u64 = 64 << 20;

/// An empty file takes a good part of what is less.
const MAX_SIZE_MIN: u64 = 1 << 20;

/// Name of the file in the folder of what outlives the agent.
const FILE: &str = "history.db";

/// What is kept of what listened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Whether anything is.
    pub enabled: bool,
    /// The file. Its folder is not made.
    pub path: PathBuf,
    /// Whether the configuration names the file or its folder.
    pub asked: bool,
    /// How long what ended is kept.
    pub keep: Duration,
    /// Bytes that the file may take.
    pub max_size: u64,
}

/// What all files together say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFile {
    enabled: Option<bool>,
    path: Option<PathBuf>,
    keep: Option<Duration>,
    max_size: Option<u64>,
}

impl HistoryFile {
    /// Takes what one more file says.
    pub(super) fn add(&mut self, mut table: Table<'_>) {
        replace(&mut self.enabled, table.take("enabled", any));
        replace(&mut self.path, table.take("path", path));
        replace(&mut self.keep, table.take("keep", keep));
        replace(&mut self.max_size, table.take("max_size", max_size));
        table.end();
    }

    /// What holds, with the folder of what outlives the agent, and whether the configuration names that.
    pub(super) fn settle(self, state: &Path, state_asked: bool) -> History {
        History {
            enabled: self.enabled.unwrap_or(true),
            asked: self.path.is_some() || state_asked,
            path: self.path.unwrap_or_else(|| state.join(FILE)),
            keep: self.keep.unwrap_or(KEEP),
            max_size: self.max_size.unwrap_or(MAX_SIZE),
        }
    }
}

fn path(text: String) -> Result<PathBuf, String> {
    let path = PathBuf::from(&text);
    if path.is_absolute() && path.file_name().is_some() && !text.ends_with('/') {
        return Ok(path);
    }
    Err(format!(
        "[history] path is `{}`; write the path of a file that begins with /, like /var/lib/portreeve/{FILE}",
        text.escape_debug()
    ))
}

fn keep(text: String) -> Result<Duration, String> {
    let keep = duration::parse(&text).filter(|keep| KEEPS.contains(keep));
    keep.ok_or_else(|| {
        format!(
            "[history] keep is `{}`; write a duration from 1h to 3650d, like 30d",
            text.escape_debug()
        )
    })
}

fn max_size(text: String) -> Result<u64, String> {
    let bytes = size::parse(&text).filter(|bytes| *bytes >= MAX_SIZE_MIN);
    bytes.ok_or_else(|| {
        format!(
            "[history] max_size is `{}`; write a size from 1MiB on, like 64MiB",
            text.escape_debug()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::files;
    use super::*;
    use crate::{exit::ConfigError, registry::Registry};

    fn settled(text: &str) -> Result<History, ConfigError> {
        let file = files(text)?.resolve(Registry::embedded())?;
        Ok(file.history.settle(Path::new("/var/lib/portreeve"), false))
    }

    #[test]
    fn every_key_is_understood_and_none_is_needed() {
        let text = "[history]\nenabled = false\npath = \"/srv/h.db\"\nkeep = \"1w2d\"\nmax_size = \"1MiB\"\n";
        let expected = History {
            enabled: false,
            path: PathBuf::from("/srv/h.db"),
            asked: true,
            keep: Duration::from_secs(9 * 86_400),
            max_size: 1 << 20,
        };
        assert_eq!(settled(text).unwrap(), expected);
        let usual = settled("").unwrap();
        assert_eq!(usual.path, Path::new("/var/lib/portreeve/history.db"));
        assert!(usual.enabled && !usual.asked);
        assert_eq!((usual.keep.as_secs(), usual.max_size), (2_592_000, 67_108_864));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line() {
        for (line, expected) in [
            ("path = \"h.db\"", "write the path of a file that begins with /"),
            ("path = \"/var/lib/\"", "write the path of a file"),
            (
                "keep = \"30 days\"",
                "[history] keep is `30 days`; write a duration from 1h to 3650d, like 30d",
            ),
            ("keep = \"5s\"", "from 1h to 3650d"),
            ("keep = \"3651d\"", "from 1h to 3650d"),
            (
                "max_size = \"1023KiB\"",
                "[history] max_size is `1023KiB`; write a size from 1MiB on, like 64MiB",
            ),
            ("max_sise = \"2MiB\"", "did you mean `max_size`?"),
        ] {
            let error = settled(&format!("[history]\n{line}\n")).unwrap_err().to_string();
            assert!(
                error.starts_with("p.toml line 2 column ") && error.contains(expected),
                "{error}"
            );
        }
    }
}
