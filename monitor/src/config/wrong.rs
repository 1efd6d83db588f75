//! What is wrong with a file: whoever finds something notes it, and goes on, so that nothing hides what comes after it.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::exit::{Place, Problem};

/// All that was found to be wrong with one file.
pub(super) struct Wrong {
    path: PathBuf,
    text: String,
    /// The bytes that lines begin at, but for the first.
    lines: Vec<usize>,
    /// By the byte that each begins at; told once, however often the file is read. Shared by all that reads it, so that none has
    /// to carry what another one found.
    found: RefCell<BTreeSet<(usize, String)>>,
}

/// Something is wrong, and it was noted: whoever has this need not tell it, and has no value to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted(());

impl Wrong {
    pub(super) fn new(path: &Path, text: String) -> Self {
        Self {
            path: path.to_owned(),
            lines: text.match_indices('\n').map(|(at, _)| at + 1).collect(),
            text,
            found: RefCell::default(),
        }
    }

    /// Notes what is wrong with what begins at this byte.
    pub(super) fn note(&self, start: usize, sentence: impl Into<String>) -> Noted {
        self.found.borrow_mut().insert((start, sentence.into()));
        Noted(())
    }

    /// Notes each of some things that are wrong with what begins at this byte.
    pub(super) fn note_each(&self, start: usize, sentences: Vec<String>) -> Noted {
        for sentence in sentences {
            self.note(start, sentence);
        }
        Noted(())
    }

    /// Where this byte stands.
    pub(super) fn place(&self, start: usize) -> Place {
        let line = self.lines.partition_point(|begin| *begin <= start);
        let begin = line.checked_sub(1).and_then(|before| self.lines.get(before)).copied();
        let before = self.text.get(begin.unwrap_or(0)..start).unwrap_or_default();
        Place {
            file: self.path.clone(),
            line: line + 1,
            column: before.chars().count() + 1,
        }
    }

    /// How much was found so far: what was read meanwhile is sound where this has not grown.
    pub(super) fn count(&self) -> usize {
        self.found.borrow().len()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// All that was found so far, in the order of the file.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let found = self.found.borrow();
        let problem = |(start, sentence): &(usize, String)| Problem {
            place: Some(self.place(*start)),
            sentence: sentence.clone(),
        };
        found.iter().map(problem).collect()
    }
}
