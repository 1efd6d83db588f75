//! The exit codes of the contract, and the errors that choose them.

use std::{fmt, path::PathBuf};

/// Everything went well.
pub const OK: u8 = 0;
/// Something failed; stderr says what.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// What `--fail-on` asks about was found.
pub const FINDING: u8 = 3;
/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
pub const CONFIG: u8 = 78;

/// A wrong command line: the sentence for the user.
#[derive(Debug)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// A wrong configuration: all that was found to be wrong, at least one thing.
#[derive(Debug)]
pub struct ConfigError(pub Vec<Problem>);

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands; `None` where no place in a file is to blame.
    pub place: Option<Place>,
    /// What is wrong and what to do, in one sentence.
    pub sentence: String,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1 on.
    pub line: usize,
    /// The letter in that line, from 1 on.
    pub column: usize,
}

impl From<String> for ConfigError {
    fn from(sentence: String) -> Self {
        Self(vec![Problem { place: None, sentence }])
    }
}

/// The first problem, and how many more there are.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.0.first() {
            first.fmt(f)?;
        }
        match self.0.len().saturating_sub(1) {
            0 => Ok(()),
            more => write!(f, " (and {more} more: `portreeve check` tells them all)"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.sentence),
            None => f.write_str(&self.sentence),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {} column {}", self.file.display(), self.line, self.column)
    }
}

impl std::error::Error for ConfigError {}

/// The exit code that an error asks for.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<UsageError>().is_some() {
        USAGE
    } else if error.is::<ConfigError>() {
        CONFIG
    } else {
        FAILED
    }
}

/// The sentence in the report of the command line's parser, which is several lines: what is wrong, what was meant perhaps,
/// and whom to ask.
#[must_use]
pub fn sentence_of(report: &str) -> String {
    let mut paragraphs = report.split("\n\n").map(|paragraph| {
        let lines: Vec<_> = paragraph.lines().map(str::trim).collect();
        lines.join(" ")
    });
    let wrong = paragraphs.next().unwrap_or_default();
    let wrong = wrong.strip_prefix("error: ").unwrap_or(&wrong).trim_end_matches('.');
    let tip = paragraphs
        .next()
        .and_then(|tip| Some(tip.strip_prefix("tip: ")?.to_owned()));
    match tip {
        Some(tip) => format!("{wrong}; {tip}, and --help tells the rest"),
        None => format!("{wrong}; --help shows what there is"),
    }
}

/// A text for a terminal: what was typed or read may hold line breaks and escape sequences, which it must not carry out,
/// and marks that turn the direction of what follows or that nobody sees.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) {
            printable.extend(letter.escape_default());
        } else {
            printable.push(letter);
        }
    }
    printable
}

/// Control characters, marks of direction and joining, separators of lines, and tags: with them a name can look like another.
pub(crate) fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
        '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_would_do_to_a_terminal_is_shown_and_not_done() {
        assert_eq!(printable("a\u{1b}[31m\nb é"), "a\\u{1b}[31m\\nb é");
        assert_eq!(printable("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
    }

    #[test]
    fn the_parsers_report_becomes_one_sentence() {
        for (report, sentence) in [
            (
                "error: unexpected argument '--wath' found\n\n  tip: a similar argument exists: '--watch'\n\nUsage: x\n",
                "unexpected argument '--wath' found; a similar argument exists: '--watch', and --help tells the rest",
            ),
            (
                "error: the following required arguments were not provided:\n  <PORT|NAME>\n\nUsage: x\n",
                "the following required arguments were not provided: <PORT|NAME>; --help shows what there is",
            ),
        ] {
            assert_eq!(sentence_of(report), sentence);
        }
    }

    #[test]
    fn each_error_has_the_exit_code_of_the_contract() {
        assert_eq!(code_of(&UsageError(String::new()).into()), 2);
        assert_eq!(code_of(&ConfigError(Vec::new()).into()), 78);
        assert_eq!(code_of(&anyhow::anyhow!("else")), 1);
        // A sentence around it does not change what it is.
        assert_eq!(
            code_of(&anyhow::Error::from(ConfigError(Vec::new())).context("while reloading")),
            78
        );
    }
}
