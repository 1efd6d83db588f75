//! The records that cross from the kernel to user space: plain integers only.

use std::collections::BTreeSet;

use crate::tidy::Violation;
use crate::tidy::tokens::{Token, tokens};

/// What a record may be made of, besides arrays of these and other records.
const INTEGERS: &[&str] = &["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"];

/// Checks every `#[repr(C)]` item in the sources of monitor-common, given as pairs of name and text.
pub(crate) fn check(files: &[(String, String)]) -> Vec<Violation> {
    let items: Vec<(&str, Item)> = files
        .iter()
        .flat_map(|(file, text)| items(&tokens(text)).into_iter().map(move |item| (file.as_str(), item)))
        .collect();
    let mut known: BTreeSet<String> = items.iter().map(|(_, item)| item.name.text.clone()).collect();
    known.extend(INTEGERS.iter().map(|integer| (*integer).to_owned()));
    // An alias is as good as what it stands for.
    for (name, meaning) in files.iter().flat_map(|(_, text)| aliases(&tokens(text))) {
        if meaning.iter().all(|word| known.contains(word)) {
            known.insert(name);
        }
    }
    let mut violations = Vec::new();
    for (file, item) in &items {
        if item.kind != "struct" {
            let sentence = format!(
                "{} is a record and must be a struct: any other bytes than an {}'s own would be undefined behaviour",
                item.name.text, item.kind
            );
            violations.push(Violation::new(file, item.name.line, sentence));
            continue;
        }
        for token in &item.types {
            let word = token.text.as_str();
            if !known.contains(word) {
                let sentence = format!(
                    "`{word}` in the record {}: records are made of integers of stated width, arrays of these, and other records",
                    item.name.text
                );
                violations.push(Violation::new(file, token.line, sentence));
            }
        }
    }
    violations
}

/// An item with `#[repr(C)]`.
struct Item {
    kind: String,
    name: Token,
    /// The tokens of its fields' types, but for brackets and the lengths of arrays.
    types: Vec<Token>,
}

/// The `type` aliases: name, and the words of the type but for brackets and lengths.
fn aliases(tokens: &[Token]) -> Vec<(String, Vec<String>)> {
    let starts = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.text == "type")
        .map(|(index, _)| index);
    let alias = |start: usize| {
        let name = tokens.get(start + 1)?.text.clone();
        let (mut depth, mut in_length, mut meaning) = (0_usize, false, Vec::new());
        for token in tokens.get(start + 2..)? {
            match token.text.as_str() {
                "=" => {}
                "[" => depth += 1,
                "]" => {
                    depth = depth.saturating_sub(1);
                    in_length = false;
                }
                ";" if depth == 0 => break,
                ";" => in_length = true,
                word if !in_length => meaning.push(word.to_owned()),
                _ => {}
            }
        }
        Some((name, meaning))
    };
    starts.filter_map(alias).collect()
}

fn items(tokens: &[Token]) -> Vec<Item> {
    let starts = (0..tokens.len()).filter(|index| {
        let here = tokens.get(*index..).unwrap_or_default();
        // Also `#[repr(C, packed)]`.
        here.iter()
            .zip(["#", "[", "repr", "(", "C"])
            .filter(|(token, wanted)| token.text == *wanted)
            .count()
            == 5
    });
    starts.filter_map(|start| item(tokens.get(start..)?)).collect()
}

fn item(tokens: &[Token]) -> Option<Item> {
    let at = tokens
        .iter()
        .position(|token| ["struct", "enum", "union"].contains(&token.text.as_str()))?;
    let (kind, name) = (tokens.get(at)?.text.clone(), tokens.get(at + 1)?.clone());
    let types = types(tokens.get(at + 2..)?);
    Some(Item { kind, name, types })
}

/// The types in `{ a: T, b: U }` or in `(T, U)`.
fn types(tokens: &[Token]) -> Vec<Token> {
    let named = tokens.first().is_some_and(|token| token.text == "{");
    let (mut depth, mut in_type, mut in_length, mut in_attribute) = (0_usize, false, false, 0_usize);
    let mut found = Vec::new();
    let mut previous = "";
    for token in tokens {
        let text = token.text.as_str();
        // Attributes of a field hold brackets and commas of their own.
        if in_attribute > 0 || (text == "[" && previous == "#") {
            match text {
                "[" => in_attribute += 1,
                "]" => in_attribute -= 1,
                _ => {}
            }
            previous = text;
            continue;
        }
        previous = text;
        match text {
            "{" | "(" => {
                depth += 1;
                in_type = !named && depth == 1;
            }
            "}" | ")" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            ";" if depth == 0 => break,
            ":" if named && depth == 1 && !in_type => in_type = true,
            "," if depth == 1 => in_type = !named,
            ";" => in_length = true,
            "]" => in_length = false,
            "[" | "#" | "pub" | "crate" => {}
            _ if in_type && !in_length => found.push(token.clone()),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::check;

    fn refused(text: &str) -> Vec<String> {
        let found = check(&[("monitor-common/src/record.rs".to_owned(), text.to_owned())]);
        found
            .into_iter()
            .map(|violation| format!("{}: {}", violation.line, violation.sentence))
            .collect()
    }

    #[test]
    fn integers_arrays_and_records_are_fine() {
        let text = "#[repr(C)]\n#[derive(Clone)]\npub struct Inner(pub u8, i64);\n\
                    #[repr(C)]\npub struct Record {\n    /// bool, in words\n    #[doc(alias = \"x\")]\n    pub a: u64,\n    pub b: [u8; Self::SIZE],\n    pub c: [[u32; 2]; N],\n    d: Inner,\n}\n\
                    struct NotARecord { x: bool }";
        assert!(refused(text).is_empty(), "{:?}", refused(text));
    }

    #[test]
    fn types_that_change_or_have_forbidden_bytes_are_refused() {
        for field in [
            "bool",
            "usize",
            "isize",
            "char",
            "*const u8",
            "&'static [u8; 4]",
            "Option<u8>",
            "[bool; 4]",
            "Kind",
            "NonZeroU32",
        ] {
            let found = refused(&format!(
                "#[repr(C)]\npub struct Record {{\n    pub a: u64,\n    pub b: {field},\n}}"
            ));
            assert!(!found.is_empty(), "{field}");
            assert!(found.iter().all(|sentence| sentence.starts_with("4: ")), "{found:?}");
        }
        assert_eq!(refused("#[repr(C)] pub struct Record(u8, bool);").len(), 1);
    }

    #[test]
    fn an_alias_is_as_good_as_what_it_stands_for() {
        let record = "#[repr(C)] pub struct Record { a: Name, b: [Name; 2] }";
        assert!(refused(&format!("pub type Name = [u64; 2];\n{record}")).is_empty());
        assert_eq!(refused(&format!("pub type Name = [bool; 2];\n{record}")).len(), 2);
        assert_eq!(refused(&format!("pub type Name = *const u64;\n{record}")).len(), 2);
    }

    #[test]
    fn an_enum_is_no_record() {
        assert_eq!(refused("#[repr(C)]\npub enum Kind { Listen, Unlisten }").len(), 1);
        assert_eq!(refused("#[repr(C, packed)]\npub union Address { v4: u32 }").len(), 1);
    }
}
