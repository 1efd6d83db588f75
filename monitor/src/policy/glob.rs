//! Patterns for executables, units and containers.

use glob::{MatchOptions, Pattern};

/// A pattern: `*` and `?` stay within one part of a path, `**` is any number of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Pattern);

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// One sentence on what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("this pattern is empty; leave the key out where anything will do".to_owned());
        }
        let refuse = |reason: String| Err(format!("`{}` is no pattern: {reason}", text.escape_debug()));
        let pattern = match Pattern::new(text) {
            Ok(pattern) => pattern,
            Err(error) => return refuse(error.msg.to_owned()),
        };
        if let Some((first, last)) = reversed(text) {
            return refuse(format!(
                "no letter lies between {first} and {last}; write [{last}-{first}]"
            ));
        }
        if has_choice(text) {
            return refuse("{a,b} is no choice here; write a list, [\"a\", \"b\"], and [{] for a brace".to_owned());
        }
        Ok(Self(pattern))
    }

    /// The pattern that takes this text and nothing else.
    pub fn literal(text: &str) -> String {
        let mut pattern = String::with_capacity(text.len());
        for letter in text.chars() {
            match letter {
                '*' | '?' | '[' | ']' | '{' => pattern.extend(['[', letter, ']']),
                letter => pattern.push(letter),
            }
        }
        pattern
    }

    /// Whether it takes a name as a whole.
    pub fn takes(&self, name: &str) -> bool {
        let options = MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        self.0.matches_with(name, options)
    }

    /// Whether it takes all that another one takes, as far as that is plain to see: where both are the same, where the other
    /// one is a plain name, and where this one is a plain beginning with `*` or `**` behind it.
    pub fn takes_all_of(&self, other: &Self) -> bool {
        let (wide, narrow) = (self.as_str(), other.as_str());
        if wide == narrow || (is_plain(narrow) && self.takes(narrow)) {
            return true;
        }
        if let Some(begin) = wide.strip_suffix("**") {
            return is_plain(begin) && narrow.starts_with(begin);
        }
        let rest = wide
            .strip_suffix('*')
            .filter(|begin| is_plain(begin))
            .and_then(|begin| narrow.strip_prefix(begin));
        rest.is_some_and(|rest| !rest.contains('/') && !rest.contains("**"))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Whether a text stands for itself alone.
fn is_plain(text: &str) -> bool {
    !text.contains(['*', '?', '['])
}

/// What stands between brackets, one after the other; a `]` that comes first is one of the letters.
fn classes(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, inside) = rest.split_once('[')?;
        let inside = inside.strip_prefix('!').unwrap_or(inside);
        let first = inside.chars().next().map_or(0, char::len_utf8);
        let end = first + inside.get(first..)?.find(']')?;
        let (class, behind) = inside.split_at_checked(end)?;
        rest = behind.strip_prefix(']')?;
        Some(class)
    })
}

/// The first range that ends before it begins.
fn reversed(text: &str) -> Option<(char, char)> {
    classes(text).find_map(|class| {
        let letters: Vec<_> = class.chars().collect();
        let mut rest = letters.as_slice();
        loop {
            match rest {
                [first, '-', last, ..] if first > last => return Some((*first, *last)),
                [_, '-', _, behind @ ..] | [_, behind @ ..] => rest = behind,
                [] => return None,
            }
        }
    })
}

/// Whether there is a choice in braces, as shells have it.
fn has_choice(text: &str) -> bool {
    let mut outside = text.to_owned();
    for class in classes(text) {
        outside = outside.replace(&format!("[{class}]"), "");
    }
    let inside = outside.split('{').skip(1).filter_map(|behind| behind.split_once('}'));
    inside.into_iter().any(|(inside, _)| inside.contains(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_take_nothing_or_is_another_shells_pattern_is_refused() {
        for (text, expected) in [
            ("/usr/bin/[b-a]x", "no letter lies between b and a; write [a-b]"),
            ("/x[a-cz-y]", "no letter lies between z and y; write [y-z]"),
            ("/x[!b-a]", "no letter lies between b and a"),
            ("/usr/{bin,sbin}/nc", "{a,b} is no choice here; write a list"),
            ("/[", ""),
            ("/a**", ""),
        ] {
            let error = Glob::parse(text).unwrap_err();
            let begin = format!("`{text}` is no pattern: {expected}");
            assert!(error.starts_with(&begin), "{error}");
        }
        for text in [
            "/[a-a]",
            "/[]-a]x",
            "/[a-]",
            "/[-b-c]",
            "/{a}",
            "/a,b",
            "/[{]a,b}",
            "/x{",
            "/é[ä-ü]",
        ] {
            assert_eq!(Glob::parse(text).err(), None, "{text}");
        }
    }

    #[test]
    fn a_literal_takes_its_text_and_nothing_else() {
        for text in ["/usr/bin/nc", "/a*b?c[d]e", "/opt/{a,b}/x", "/tmp/{", "é"] {
            assert!(Glob::parse(&Glob::literal(text)).unwrap().takes(text), "{text}");
        }
        assert!(!Glob::parse(&Glob::literal("/a*")).unwrap().takes("/ab"));
    }

    #[test]
    fn one_takes_all_of_another_where_that_is_sure() {
        for (wide, narrow, expected) in [
            ("/usr/**", "/usr/bin/nc*", true),
            ("/usr/**", "/usr/**/nc", true),
            ("/usr/**", "/usr/*", true),
            ("**", "/x/*", true),
            ("/usr/bin/*", "/usr/bin/nc*", true),
            ("/usr/bin/n*", "/usr/bin/n[a-c]", true),
            ("/usr/bin/*", "/usr/bin/nc", true),
            ("*", "ssh@*.service", true),
            ("/usr/b*", "/usr/*", false),
            ("/usr/*", "/usr/b*/nc", false),
            ("/usr/*", "/usr/**", false),
            ("/usr/**", "/us?/bin/nc", false),
            ("/usr/**", "/usr", false),
            ("/usr/*/**", "/usr/bin/*", false),
            ("/u[s]*", "/u[s]r", false),
        ] {
            let (wide_glob, narrow_glob) = (Glob::parse(wide).unwrap(), Glob::parse(narrow).unwrap());
            assert_eq!(wide_glob.takes_all_of(&narrow_glob), expected, "{wide} {narrow}");
        }
    }
}
