//! The metrics page as a scraper reads it, for tests.

use std::collections::BTreeMap;

/// A line of the page, as a scraper takes it.
#[derive(Debug)]
pub(super) struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// Takes one label and its value off the front; a value ends at the first quote that is not escaped.
fn take_label(text: &str) -> (String, String, &str) {
    let (label, rest) = text.split_once("=\"").unwrap();
    let mut value = String::new();
    let mut letters = rest.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (label.to_owned(), value, &rest[at + 1..]),
            '\\' => value.push(match letters.next().unwrap().1 {
                'n' => '\n',
                kept @ ('"' | '\\') => kept,
                other => panic!("the escape \\{other} is not in the text format"),
            }),
            letter => value.push(letter),
        }
    }
    panic!("a label without an end: {text}")
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value, behind) = take_label(rest.trim_start_matches(','));
            assert_eq!(labels.insert(label, value), None, "a label twice: {line}");
            rest = behind;
        }
        rest = &rest[1..];
    }
    Sample {
        name: name.to_owned(),
        labels,
        value: rest.trim().parse().unwrap(),
    }
}

/// All lines of a page but the comments; one that is not in the text format fails the test.
pub(super) fn scrape(page: &str) -> Vec<Sample> {
    page.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}
