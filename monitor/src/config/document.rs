//! A TOML document, read key by key: what is wrong with one key is noted, and the others are read all the same.

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::wrong::{Noted, Wrong};
use crate::exit::Place;

/// What is told at most of a file that is no TOML.
const SLIPS_MAX: usize = 50;

/// A table of which keys are taken out, one after the other. What is left at its end is known to nobody.
pub(super) struct Table<'a> {
    rest: DeTable<'a>,
    /// The keys that were asked for, and where their values begin.
    known: Vec<(&'static str, Option<usize>)>,
    start: usize,
    wrong: &'a Wrong,
}

/// A value with the byte that it begins at.
type Value<'a> = Spanned<DeValue<'a>>;

/// Reads a document. What is no TOML at all is noted, and read as an empty one.
pub(super) fn read(wrong: &Wrong) -> Table<'_> {
    let (document, slips) = DeTable::parse_recoverable(wrong.text());
    let mut rest = document.into_inner();
    if !slips.is_empty() {
        rest = DeTable::new();
        let mut lines = Vec::new();
        for slip in slips.iter().take(SLIPS_MAX) {
            let start = slip.span().map_or(0, |span| span.start);
            // What follows a slip is mostly its consequence, so one for each line will do.
            let line = wrong.place(start).line;
            if !lines.contains(&line) {
                lines.push(line);
                wrong.note(start, plain(slip.message()));
            }
        }
    }
    Table::new(rest, 0, wrong)
}

impl<'a> Table<'a> {
    const fn new(rest: DeTable<'a>, start: usize, wrong: &'a Wrong) -> Self {
        Self {
            rest,
            known: Vec::new(),
            start,
            wrong,
        }
    }

    /// The value of a key, if it is there and `judge` takes it; else what is wrong is noted.
    pub(super) fn take<T: DeserializeOwned, U>(
        &mut self,
        key: &'static str,
        judge: impl FnOnce(T) -> Result<U, String>,
    ) -> Result<Option<U>, Noted> {
        let Some(value) = self.value(key) else { return Ok(None) };
        self.judged(value, judge).map(Some)
    }

    /// The value of a key that has to be there.
    pub(super) fn need<T: DeserializeOwned, U>(
        &mut self,
        key: &'static str,
        judge: impl FnOnce(T) -> Result<U, String>,
    ) -> Result<U, Noted> {
        let taken = self.take(key, judge)?;
        taken.ok_or_else(|| self.note(format!("the key `{key}` is missing here")))
    }

    /// The items of a list. Each is judged, and what is wrong with any is noted.
    pub(super) fn list<T: DeserializeOwned, U>(
        &mut self,
        key: &'static str,
        judge: impl FnMut(T) -> Result<U, String>,
    ) -> Result<Option<Vec<U>>, Noted> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let items = self.items(key, value)?;
        self.each(items, judge).map(Some)
    }

    /// One item, or a list of them with at least one in it; none where the key is left out.
    pub(super) fn one_or_more<T: DeserializeOwned, U>(
        &mut self,
        key: &'static str,
        judge: impl FnMut(T) -> Result<U, String>,
    ) -> Result<Vec<U>, Noted> {
        let Some(value) = self.value(key) else {
            return Ok(Vec::new());
        };
        let start = value.span().start;
        let items = match value.get_ref() {
            DeValue::Array(_) => self.items(key, value)?,
            _ => vec![value],
        };
        if items.is_empty() {
            let text = "this list is empty; leave the key out where anything will do";
            return Err(self.wrong.note(start, text));
        }
        self.each(items, judge)
    }

    /// All keys of a table, whatever their names, with their values, both judged.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        mut name_is_right: impl FnMut(&str) -> Result<(), String>,
        mut judge: impl FnMut(&str, String) -> Result<String, String>,
    ) -> Result<Vec<(String, String)>, Noted> {
        let Some(table) = self.table(key)? else {
            return Ok(Vec::new());
        };
        let mut outcome = Ok(Vec::new());
        for (name, value) in table.rest {
            let start = name.span().start;
            let name = name.into_inner().into_owned();
            let named = name_is_right(&name).map_err(|sentence| self.wrong.note(start, sentence));
            let text = self.judged(value, |text: String| judge(&name, text));
            match (named.and(text), &mut outcome) {
                (Ok(text), Ok(texts)) => texts.push((name, text)),
                (Ok(_), Err(_)) => {}
                (Err(noted), _) => outcome = Err(noted),
            }
        }
        outcome
    }

    /// A table below this one.
    pub(super) fn table(&mut self, key: &'static str) -> Result<Option<Self>, Noted> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let start = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => Ok(Some(Self::new(table, start, self.wrong))),
            DeValue::Array(_) => Err(self.wrong.note(
                start,
                format!("there is one table of this name: write it with one bracket, [{key}]"),
            )),
            _ => Err(self
                .wrong
                .note(start, format!("this is a table: write {key} = {{ … }}"))),
        }
    }

    /// A table below this one that is read as an empty one where it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let table = self.table(key).ok().flatten();
        table.unwrap_or_else(|| Self::new(DeTable::new(), self.start, self.wrong))
    }

    /// The tables of a list, `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        if matches!(value.get_ref(), DeValue::Table(_)) {
            let text = format!("this is a list: write it with two brackets, [[{key}]]");
            self.wrong.note(value.span().start, text);
            return Vec::new();
        }
        let mut tables = Vec::new();
        for item in self.items(key, value).unwrap_or_default() {
            let start = item.span().start;
            if let DeValue::Table(table) = item.into_inner() {
                tables.push(Self::new(table, start, self.wrong));
            } else {
                self.wrong
                    .note(start, format!("this is a list of tables: write each as [[{key}]]"));
            }
        }
        tables
    }

    /// Notes the keys that nobody asked for, and says whether there is none: else it is open what the table means as a whole.
    pub(super) fn end(&mut self) -> bool {
        let known: Vec<_> = self.known.iter().map(|(key, _)| *key).collect();
        let is_whole = self.rest.is_empty();
        for (key, _) in std::mem::take(&mut self.rest) {
            let name = key.get_ref().escape_debug();
            let text = match nearest(key.get_ref(), &known) {
                Some(near) => format!("unknown key `{name}`; did you mean `{near}`?"),
                None => format!("unknown key `{name}`; known here: {}", known.join(", ")),
            };
            self.wrong.note(key.span().start, text);
        }
        is_whole
    }

    /// Notes what is wrong with the table as a whole.
    pub(super) fn note(&self, sentence: impl Into<String>) -> Noted {
        self.wrong.note(self.start, sentence)
    }

    /// Notes what is wrong with the value of a key that was taken.
    pub(super) fn note_at(&self, key: &str, sentence: impl Into<String>) -> Noted {
        self.wrong.note(self.start_of(key), sentence)
    }

    /// Notes each of some things that are wrong with it.
    pub(super) fn note_each_at(&self, key: &str, sentences: Vec<String>) -> Noted {
        self.wrong.note_each(self.start_of(key), sentences)
    }

    fn start_of(&self, key: &str) -> usize {
        let taken = self.known.iter().find(|(known, _)| *known == key);
        taken.and_then(|(_, start)| *start).unwrap_or(self.start)
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> Place {
        self.wrong.place(self.start)
    }

    /// How much was found to be wrong so far.
    pub(super) fn wrong_so_far(&self) -> usize {
        self.wrong.count()
    }

    fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        let value = self.rest.remove(key);
        self.known.push((key, value.as_ref().map(|value| value.span().start)));
        value
    }

    fn items(&self, key: &str, value: Value<'a>) -> Result<Vec<Value<'a>>, Noted> {
        let start = value.span().start;
        match value.into_inner() {
            DeValue::Array(items) => Ok(items.into_iter().collect()),
            _ => Err(self
                .wrong
                .note(start, format!("this is a list: write it in brackets, {key} = [ … ]"))),
        }
    }

    fn each<T: DeserializeOwned, U>(
        &self,
        items: Vec<Value<'a>>,
        mut judge: impl FnMut(T) -> Result<U, String>,
    ) -> Result<Vec<U>, Noted> {
        // All of them, before the first that is wrong ends it.
        let judged: Vec<_> = items.into_iter().map(|item| self.judged(item, &mut judge)).collect();
        judged.into_iter().collect()
    }

    fn judged<T: DeserializeOwned, U>(
        &self,
        value: Value<'a>,
        judge: impl FnOnce(T) -> Result<U, String>,
    ) -> Result<U, Noted> {
        let start = value.span().start;
        let read = T::deserialize(ValueDeserializer::from(value));
        let read = read.map_err(|error| plain(error.message()));
        read.and_then(judge)
            .map_err(|sentence| self.wrong.note(start, sentence))
    }
}

/// Takes a value as it is.
pub(super) fn any<T>(value: T) -> Result<T, String> {
    Ok(value)
}

/// The value that was read takes the place of the one before, if there is one.
pub(super) fn replace<T>(slot: &mut Option<T>, read: Result<Option<T>, Noted>) {
    if let Ok(Some(value)) = read {
        *slot = Some(value);
    }
}

/// The one of these words that a slip of the pen makes of this one: a third of its letters may differ, three at most.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let distances = known.iter().map(|known| (strsim::osa_distance(word, known), *known));
    let (distance, nearest) = distances.min()?;
    (distance <= limit).then_some(nearest)
}

/// Turns the parser's message into one line that names the nearest word.
fn plain(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join(" ");
    let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if line.starts_with("unknown variant") => match nearest(unknown, known) {
            Some(word) => format!("`{unknown}` is not known here; did you mean `{word}`?"),
            None => format!("`{unknown}` is not known here; write one of {}", known.join(", ")),
        },
        _ => line
            .replace(" as i128", "")
            .replace("usize", "a whole number from 0 on")
            .replace("wanted string or table", "this is a word: write it in quotes"),
    }
}
