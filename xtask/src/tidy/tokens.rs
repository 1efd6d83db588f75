//! Rust source as words and signs, without comments, strings and characters: enough to see what is used where.

/// A word (identifier, keyword or number) or a sign, with the line that it stands on, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// Splits source into tokens. `::` is one token; every other sign is one character.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut cursor = Cursor { rest: source, line: 1 };
    let mut found = Vec::new();
    while let Some(next) = cursor.rest.chars().next() {
        let line = cursor.line;
        if cursor.rest.starts_with("//") {
            cursor.skip_while(|c| c != '\n');
        } else if cursor.rest.starts_with("/*") {
            cursor.skip_block_comment();
        } else if let Some(hashes) = raw_string_start(cursor.rest) {
            cursor.skip_past(&format!("\"{}", "#".repeat(hashes)), hashes);
        } else if next == '"' || cursor.rest.starts_with("b\"") || cursor.rest.starts_with("c\"") {
            cursor.skip_string();
        } else if next == '\'' {
            cursor.skip_character_or_lifetime();
        } else if next == '_' || next.is_alphanumeric() {
            let text = cursor.take_while(|c| c == '_' || c.is_alphanumeric());
            // r#type is the word `type`, not a raw string.
            if text == "r" && cursor.rest.starts_with('#') {
                cursor.skip(1);
            } else {
                found.push(Token { line, text });
            }
        } else if cursor.rest.starts_with("::") {
            cursor.skip(2);
            found.push(Token {
                line,
                text: "::".to_owned(),
            });
        } else {
            cursor.skip(next.len_utf8());
            if !next.is_whitespace() {
                found.push(Token {
                    line,
                    text: next.to_string(),
                });
            }
        }
    }
    found
}

/// Tokens without the bodies of `#[cfg(test)] mod … { … }`, and the number of lines in these bodies.
pub(crate) fn without_tests(tokens: &[Token]) -> (Vec<Token>, usize) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut test_lines) = (Vec::new(), 0);
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        let marked = rest.len() > MARK.len() && rest.iter().zip(MARK).all(|(token, mark)| token.text == mark);
        let body = marked.then(|| rest.get(MARK.len()..)).flatten().and_then(test_module);
        if let Some(left) = body {
            let last = rest.len().checked_sub(left.len() + 1).and_then(|index| rest.get(index));
            test_lines += last.map_or(0, |last| last.line + 1 - first.line);
            rest = left;
        } else {
            kept.push(first.clone());
            rest = after;
        }
    }
    (kept, test_lines)
}

/// What follows a module with a body at the start of `tokens`.
fn test_module(tokens: &[Token]) -> Option<&[Token]> {
    let open = tokens.iter().position(|token| token.text == "{" || token.text == ";")?;
    let head = tokens.get(..open)?;
    if !head.iter().any(|token| token.text == "mod") || tokens.get(open)?.text == ";" {
        return None;
    }
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return tokens.get(index + 1..);
        }
    }
    None
}

struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl Cursor<'_> {
    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    fn skip_while(&mut self, which: impl Fn(char) -> bool) {
        self.skip(self.rest.find(|c| !which(c)).unwrap_or(self.rest.len()));
    }

    fn take_while(&mut self, which: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !which(c)).unwrap_or(self.rest.len());
        let text = self.rest.get(..end).unwrap_or_default().to_owned();
        self.skip(end);
        text
    }

    /// Skips a raw string: past its opening quote, then past its end.
    fn skip_past(&mut self, end: &str, hashes: usize) {
        let open = self.rest.find('"').unwrap_or(hashes) + 1;
        self.skip(open);
        self.skip(self.rest.find(end).map_or(self.rest.len(), |at| at + end.len()));
    }

    fn skip_string(&mut self) {
        self.skip(self.rest.find('"').map_or(1, |at| at + 1));
        let mut escaped = false;
        let end = self.rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        self.skip(end.map_or(self.rest.len(), |at| at + 1));
    }

    /// `'a'`, `'\n'` or `'lifetime`.
    fn skip_character_or_lifetime(&mut self) {
        let mut characters = self.rest.chars().skip(1);
        let (first, second) = (characters.next(), characters.next());
        if first == Some('\\') {
            // The escaped character may be a quote itself.
            self.skip(3);
            self.skip(self.rest.find('\'').map_or(0, |at| at + 1));
        } else if second == Some('\'') {
            self.skip(2 + first.map_or(0, char::len_utf8));
        } else {
            self.skip(1);
            self.skip_while(|c| c == '_' || c.is_alphanumeric());
        }
    }

    /// Block comments nest.
    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while !self.rest.is_empty() {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.skip(2);
            } else {
                self.skip(self.rest.chars().next().map_or(1, char::len_utf8));
            }
            if depth == 0 {
                return;
            }
        }
    }
}

/// The number of hashes of a raw string that starts here.
fn raw_string_start(rest: &str) -> Option<usize> {
    let after = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after.trim_start_matches('#').starts_with('"').then_some(hashes)
}

#[cfg(test)]
mod tests {
    use super::{tokens, without_tests};

    fn words(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_strings_say_nothing() {
        let source = "a // unsafe\n/* unsafe /* x */ y */ b \"unsafe \\\" {\" c r#\"unsafe \" \"# d b\"e\" 'f' '\\'' g";
        assert_eq!(words(source), ["a", "b", "c", "d", "g"]);
    }

    #[test]
    fn a_lifetime_is_no_string() {
        assert_eq!(
            words("fn f<'a>(x: &'a str) {}"),
            ["fn", "f", "<", ">", "(", "x", ":", "&", "str", ")", "{", "}"]
        );
    }

    #[test]
    fn lines_are_counted_through_strings_and_comments() {
        let found = tokens("\"one\ntwo\"\n/*\n*/ x");
        assert_eq!(
            found.first().map(|token| (token.line, token.text.as_str())),
            Some((4, "x"))
        );
    }

    #[test]
    fn test_modules_are_taken_out() {
        let source =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { {} }\n}\nfn c() {}\n#[cfg(test)]\nmod elsewhere;\n";
        let (kept, lines) = without_tests(&tokens(source));
        let kept: Vec<&str> = kept.iter().map(|token| token.text.as_str()).collect();
        assert!(kept.contains(&"a") && kept.contains(&"c") && !kept.contains(&"b"));
        assert_eq!(lines, 4);
    }
}
