//! The terminal: how wide it is, and whether it takes colours.

use std::{
    env,
    io::{IsTerminal, stdout},
};

use clap::ValueEnum;

/// Columns of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, and where NO_COLOR is not set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Whether stdout gets colours.
    pub fn applies(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            // Any value counts, but the empty one (no-color.org).
            Self::Auto => stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

/// The columns of stdout; `None` where it is no terminal, so that nothing has to fit.
pub fn width() -> Option<usize> {
    stdout().is_terminal().then(|| {
        let named = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let asked = || {
            rustix::termios::tcgetwinsize(stdout())
                .ok()
                .map(|size| size.ws_col.into())
        };
        named
            .filter(|columns| *columns > 0)
            .or_else(|| asked().filter(|columns| *columns > 0))
            .unwrap_or(USUAL_WIDTH)
    })
}

/// How a text is painted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paint {
    #[default]
    Plain,
    Bold,
    Dim,
    Alarm,
    Fine,
    Doubt,
}

impl Paint {
    /// The text within the sequences that paint it, where there is `color`.
    pub fn on(self, text: &str, color: bool) -> String {
        let code = match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Alarm => "1;31",
            Self::Fine => "32",
            Self::Doubt => "33",
            Self::Plain => "",
        };
        if color && !code.is_empty() && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The columns that a text takes, roughly: marks that combine take none, what East Asian scripts and pictures are written
/// with takes two.
pub fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(letter: char) -> usize {
    match letter {
        '\u{300}'..='\u{36f}' | '\u{fe00}'..='\u{fe0f}' | '\u{20d0}'..='\u{20ff}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// The text cut to so many columns, with `…` for what is gone.
pub fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for letter in text.chars() {
        used += columns_of(letter);
        if used >= width {
            break;
        }
        kept.push(letter);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_to_columns_and_not_to_letters() {
        assert_eq!(cut("ipsendmsg", 9), "ipsendmsg");
        assert_eq!(cut("ipsendmsg", 5), "ipse…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("ab", 1), "…");
        assert_eq!(cut("ab", 0), "");
        assert_eq!(columns("e\u{301}a"), 2);
    }

    #[test]
    fn nothing_is_painted_without_colours() {
        assert_eq!(Paint::Alarm.on("x", true), "\u{1b}[1;31mx\u{1b}[0m");
        assert_eq!(Paint::Alarm.on("x", false), "x");
        assert_eq!(Paint::Plain.on("x", true), "x");
    }
}
