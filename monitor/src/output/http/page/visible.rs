//! How values are put into a page: nothing in them is a part of it, and nothing in them changes how the rest reads.

use std::fmt::{self, Write};

use askama::filters::{Escaper, Html};

use crate::exit;

/// HTML's own escapes, and marks that turn the direction of text or that nobody sees as `\u{..}`: whoever runs a program chooses
/// its name.
#[derive(Clone, Copy)]
pub(super) struct Visible;

impl Escaper for Visible {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_hidden) {
            let mut letters = part.chars();
            match letters.next_back() {
                Some(last) if is_hidden(last) => {
                    Html.write_escaped_str(&mut dest, letters.as_str())?;
                    write!(dest, "{}", last.escape_default())?;
                }
                _ => Html.write_escaped_str(&mut dest, part)?,
            }
        }
        Ok(())
    }
}

/// Lines and their indents are wanted, in what is to be copied.
fn is_hidden(letter: char) -> bool {
    exit::is_hidden(letter) && letter != '\n' && letter != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_neither_ends_an_element_nor_turns_what_follows_it() {
        let mut text = String::new();
        Visible
            .write_escaped_str(&mut text, "a<b>\u{202e}gnp.exe\u{1b}[31m\nc")
            .unwrap();
        assert_eq!(text, "a&#60;b&#62;\\u{202e}gnp.exe\\u{1b}[31m\nc");
    }
}
