//! Search by words in names and descriptions, tolerant of slips.
//!
//! Every word must be found. A word that is found nowhere as it is typed is looked for once more with slips, so that
//! slips never mix with what was meant.

use super::Registry;
use super::grouped::{Grouped, grouped};
use super::meaning::Meaning;
use super::nearest::{LONGEST, edits, unlike};
use super::registration::Registration;

/// What a search found.
#[derive(Debug)]
pub struct Found<'a> {
    /// The rows, best first; those that differ in their transport alone are one.
    pub hits: Vec<Grouped<'a>>,
    /// How many rows each word is found in by itself, in the order of the words.
    pub words: Vec<usize>,
}

/// How well a word fits a row: less is better.
type Fit = u32;

/// It is the name, or the port.
const NAME: Fit = 0;
/// The name begins with it.
const PREFIX: Fit = 1;
/// It is a part of the name between hyphens.
const PART: Fit = 2;
/// The name has it somewhere.
const INSIDE: Fit = 3;
/// The description has it as a word.
const WORD: Fit = 4;
/// A word of the description begins with it.
const WORD_PREFIX: Fit = 5;
/// What each slip costs.
const SLIP: Fit = 10;
/// Shorter words are the beginning of too many names to forgive slips in it.
const SHORTEST_BEGINNING: usize = 5;

impl Registry {
    /// The rows in which all words are found, best first. Case does not count; no words find nothing.
    ///
    /// Rows are ranked by the sum of how well each word fits, then the shorter name first, then in the registry's
    /// order. Reserved and unassigned rows are left out.
    #[must_use]
    pub fn search(&self, words: &[String]) -> Found<'_> {
        let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        let groups: Vec<Grouped<'_>> = grouped(self.rows())
            .into_iter()
            .filter(|group| {
                !matches!(
                    Meaning::of(&group.registration),
                    Meaning::Reserved | Meaning::Unassigned
                )
            })
            .collect();
        let texts: Vec<Text> = groups.iter().map(|group| Text::of(&group.registration)).collect();
        let mut ranks: Vec<Option<u32>> = vec![(!words.is_empty()).then_some(0); groups.len()];
        let mut counts = Vec::with_capacity(words.len());
        for word in &words {
            let mut fits: Vec<Option<Fit>> = texts.iter().map(|text| text.fit(word)).collect();
            if fits.iter().all(Option::is_none) {
                fits = texts.iter().map(|text| text.near(word)).collect();
            }
            counts.push(fits.iter().flatten().count());
            for (rank, fit) in ranks.iter_mut().zip(fits) {
                *rank = rank.zip(fit).map(|(rank, fit)| rank + fit);
            }
        }
        let mut hits: Vec<_> = groups
            .into_iter()
            .zip(texts)
            .zip(ranks)
            .filter_map(|((group, text), rank)| Some((rank?, text.name.len(), group)))
            .collect();
        // Where it was the description that fitted, the length of the name says nothing.
        hits.sort_by_key(|(rank, length, _)| (*rank, if *rank < WORD { *length } else { 0 }));
        Found {
            hits: hits.into_iter().map(|(.., group)| group).collect(),
            words: counts,
        }
    }
}

/// A row in lower case.
struct Text {
    name: String,
    description: String,
    ports: Option<super::Ports>,
}

impl Text {
    fn of(row: &Registration<'_>) -> Self {
        Self {
            name: row.service().unwrap_or_default().to_lowercase(),
            description: row.description().unwrap_or_default().to_lowercase(),
            ports: row.ports(),
        }
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.description
            .split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty())
    }

    fn fit(&self, word: &str) -> Option<Fit> {
        let port = word.parse().ok();
        if !self.name.is_empty() && self.name == word
            || self.ports.zip(port).is_some_and(|(ports, port)| ports.contains(port))
        {
            Some(NAME)
        } else if self.name.starts_with(word) {
            Some(PREFIX)
        } else if self.name.split(['-', '_']).any(|part| part == word) {
            Some(PART)
        } else if self.name.contains(word) {
            Some(INSIDE)
        } else if self.words().any(|other| other == word) || is_phrase(word) && self.description.contains(word) {
            Some(WORD)
        } else if self.words().any(|other| other.starts_with(word)) {
            Some(WORD_PREFIX)
        } else {
            None
        }
    }

    /// With slips: one for each three letters, three at most. A word of two letters is always far from another. Of
    /// names that are equally near, those come first that begin and end as the word does, then those that only begin
    /// nearly so.
    fn near(&self, word: &str) -> Option<Fit> {
        let length = word.chars().count();
        if !(3..=LONGEST).contains(&length) {
            return None;
        }
        let limit = (length / 3).clamp(1, 3);
        let slips = |other: &str, limit| edits(word, other, limit).and_then(|slips| Fit::try_from(slips).ok());
        let in_name = slips(&self.name, limit).map(|slips| slips * SLIP + Fit::from(unlike(word, &self.name)));
        let beginning = self
            .beginnings(word)
            .filter_map(|beginning| slips(beginning, limit))
            .min();
        let beginning = beginning.map(|slips| slips * SLIP + WORD);
        let in_description = self.words().filter_map(|other| slips(other, limit.min(2))).min();
        let in_description = in_description.map(|slips| slips * SLIP + WORD);
        in_name.into_iter().chain(beginning).chain(in_description).min()
    }

    /// The beginnings of a longer name that are as long as the word, one letter more or less. Only names that begin
    /// with the word's first letter, or have it second, are worth the comparison.
    fn beginnings(&self, word: &str) -> impl Iterator<Item = &str> {
        let length = word.len();
        let alike = word
            .bytes()
            .next()
            .is_some_and(|first| self.name.bytes().take(2).any(|byte| byte == first));
        let is_worth = alike && length >= SHORTEST_BEGINNING && self.name.len() > length;
        let lengths = is_worth.then_some(length - 1..=length + 1);
        lengths
            .into_iter()
            .flatten()
            .filter_map(|length| self.name.get(..length))
    }
}

/// Whether a word is more than letters and digits (`tcp/ip`, `x.25`), so that it is not one word of a description.
fn is_phrase(word: &str) -> bool {
    word.chars().any(|letter| !letter.is_alphanumeric())
}

#[cfg(test)]
mod tests;
