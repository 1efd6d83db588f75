//! A TOML document, read so that one slip does not hide the next.

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

/// What is told of one document at most.
const PROBLEMS_MAX: usize = 50;

/// Something wrong: the byte that it begins at, and a sentence.
pub(super) type Wrong = (usize, String);

/// A key or an index on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Reads a document. Of what is wrong with its form, each thing is told once; what it is wrong in is left out of what comes
/// back, with the whole `[[table]]` that it stands in. Nothing comes back of what is no TOML at all.
pub(super) fn read<T: DeserializeOwned + Default>(text: &str) -> (T, Vec<Wrong>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    if !errors.is_empty() {
        // What follows a slip in the form is mostly its consequence, so one for each line will do.
        let mut wrong: Vec<Wrong> = Vec::new();
        for error in errors.iter().take(PROBLEMS_MAX) {
            let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count();
            if wrong.iter().all(|(at, _)| line(*at) != line(start(error))) {
                wrong.push((start(error), plain(error.message())));
            }
        }
        return (T::default(), wrong);
    }
    let (span, mut table) = (document.span(), document.into_inner());
    let (mut wrong, mut broken, mut cut) = (Vec::new(), Vec::new(), Vec::new());
    while wrong.len() < PROBLEMS_MAX {
        let whole = Spanned::new(span.clone(), table.clone());
        let error = match T::deserialize(Deserializer::from(whole)) {
            Ok(read) if broken.is_empty() => return (read, wrong),
            Ok(_) => {
                take_out(&mut table, &broken);
                broken.clear();
                continue;
            }
            Err(error) => error,
        };
        let (at, message) = (start(&error), plain(error.message()));
        let Some(path) = find(&table, at) else {
            wrong.push((at, message));
            break;
        };
        let element = element_of(&table, &path);
        // It is there, and what is wrong with it was told.
        let missing = error
            .message()
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split('`').next());
        let told = missing.is_some_and(|key| cut.iter().any(|(cut_of, cut_key)| *cut_of == element && cut_key == key));
        if !told {
            wrong.push((at, message));
        }
        if let Some(Step::Key(key)) = path.last() {
            cut.push((element, key.clone()));
        }
        broken.extend(element);
        if !remove(&mut table, &path) {
            break;
        }
    }
    (T::default(), wrong)
}

/// The way to the innermost value that this byte belongs to, or whose key does.
fn find(table: &DeTable<'_>, at: usize) -> Option<Vec<Step>> {
    table.iter().find_map(|(key, value)| {
        let step = || Step::Key(key.get_ref().to_string());
        let below = find_in(value, at).map(|mut path| {
            path.insert(0, step());
            path
        });
        below.or_else(|| key.span().contains(&at).then(|| vec![step()]))
    })
}

fn find_in(value: &Spanned<DeValue<'_>>, at: usize) -> Option<Vec<Step>> {
    let below = match value.get_ref() {
        DeValue::Table(table) => find(table, at),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let mut path = find_in(item, at)?;
            path.insert(0, Step::Index(index));
            Some(path)
        }),
        _ => None,
    };
    below.or_else(|| value.span().contains(&at).then(Vec::new))
}

/// Where the `[[table]]` begins that a way leads into.
fn element_of(table: &DeTable<'_>, path: &[Step]) -> Option<usize> {
    match path {
        [Step::Key(key), Step::Index(index), ..] => match table.get(key.as_str())?.get_ref() {
            DeValue::Array(items) => items
                .get(*index)
                .filter(|item| matches!(item.get_ref(), DeValue::Table(_)))
                .map(|item| item.span().start),
            _ => None,
        },
        _ => None,
    }
}

fn remove(table: &mut DeTable<'_>, path: &[Step]) -> bool {
    match path {
        [Step::Key(key)] => table.remove(key.as_str()).is_some(),
        [Step::Key(key), rest @ ..] => table
            .get_mut(key.as_str())
            .is_some_and(|value| remove_in(value.get_mut(), rest)),
        _ => false,
    }
}

fn remove_in(value: &mut DeValue<'_>, path: &[Step]) -> bool {
    match (value, path) {
        (DeValue::Table(table), path) => remove(table, path),
        (DeValue::Array(items), [Step::Index(index)]) if *index < items.len() => {
            let others = items.clone().into_iter().enumerate().filter(|(at, _)| at != index);
            *items = others.map(|(_, item)| item).collect();
            true
        }
        (DeValue::Array(items), [Step::Index(index), rest @ ..]) => items
            .get_mut(*index)
            .is_some_and(|item| remove_in(item.get_mut(), rest)),
        _ => false,
    }
}

/// Takes out each `[[table]]` that begins at one of these bytes.
fn take_out(table: &mut DeTable<'_>, starts: &[usize]) {
    for (_, value) in table.iter_mut() {
        if let DeValue::Array(items) = value.get_mut() {
            let whole = items.clone().into_iter();
            *items = whole.filter(|item| !starts.contains(&item.span().start)).collect();
        }
    }
}

/// Turns the parser's message into one line that names the nearest key or word.
fn plain(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join(" ");
    let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if line.starts_with("unknown field") => match nearest(unknown, known) {
            Some(key) => format!("unknown key `{unknown}`; did you mean `{key}`?"),
            None => format!("unknown key `{unknown}`; known here: {}", known.join(", ")),
        },
        Some((unknown, known)) if line.starts_with("unknown variant") => match nearest(unknown, known) {
            Some(word) => format!("`{unknown}` is not known here; did you mean `{word}`?"),
            None => format!("`{unknown}` is not known here; write one of {}", known.join(", ")),
        },
        _ if line.starts_with("missing field") => match quoted.first() {
            Some(key) => format!("the key `{key}` is missing here"),
            None => line,
        },
        _ => line
            .replace(
                "invalid type: map, expected a sequence",
                "this is a list: write it with two brackets, [[rule]]",
            )
            .replace(", expected a sequence", ": write a list, [\"8080\"]")
            .replace(" as i128", "")
            .replace("usize", "a whole number from 0 on"),
    }
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|key| (strsim::osa_distance(word, key), *key));
    let (distance, key) = distances.min()?;
    (distance <= key.len().div_ceil(2)).then_some(key)
}
