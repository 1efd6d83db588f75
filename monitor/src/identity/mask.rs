//! Secrets in command lines, replaced by `***`.
//!
//! Masked is what stands
//! - after a name that announces a secret (`names`): `--password=x`, `--password x`, `-password x`, `PASSWORD=x`,
//!   `api_key: x`, `Authorization: Bearer x`, `Basic x`, `"token":"x"`, and one word after a bare name: `password x`;
//! - before the `@` of a URL or of `user:password@host`, and behind the colon of `-u user:x` and `--user=user:x`
//!   (`logins`);
//! - behind the short options of well-known programs (`programs`): `mysql -px`, `curl -u user:x`;
//! - in any of these forms inside one argument, such as the text of `sh -c` or a rewritten title;
//!
//! and what looks like a secret wherever it stands (`shapes`): tokens of large services, JWTs, private keys.
//!
//! Where it is not clear how far a secret reaches, more is masked rather than less: of
//! `--config={'password': 'x', 'a': 1}` all that follows the name is lost, and so is the rest of a text after a secret
//! whose quote nothing closes. A bare name masks the next word even where it was meant otherwise (`docker secret ls`).
//!
//! An option is not taken for the value of what stands before it: of `--token --foo x` nothing is masked, for no token
//! is given. An option here is `--name`, `--name=value` or `-x`; behind `key` and `auth`, which are often switches, and
//! behind a bare name it is any word of dashes and a letter. A secret of that form, which most programs would refuse,
//! therefore shows.
//!
//! Not masked are names that tell *about* a secret (`--key-file`, `--token-ttl`): paths of files are no secrets, and an
//! operator needs them. Not recognised are secrets that nothing announces and that have no known shape: other bare
//! arguments, unknown short options, here-documents.

mod logins;
mod names;
mod programs;
mod shapes;

use logins::{is_port, mask_login, mask_user_info};
use names::Secrecy;
use programs::{Carries, Found, Program};

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Quoted text inside quoted text that is looked into; what lies deeper is masked as a whole.
const MAX_DEPTH: u8 = 4;

/// The command line without its secrets. The number of arguments stays the same.
#[must_use]
pub fn mask(arguments: Vec<String>) -> Vec<String> {
    let mut scan = Scan::default();
    arguments
        .into_iter()
        .map(|argument| scan.argument(&shapes::mask(argument)))
        .collect()
}

/// What the argument or word after this one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Anything,
    /// A secret.
    Value,
    /// A secret, unless it looks like an option.
    LikelyValue,
    /// The same behind a bare name: `password x`, but also `password = x` and `auth password x`.
    AfterBareName,
    /// A secret behind a known program's short option, unless it looks like an option or like ports: the program's name
    /// may be that of a container, as in `docker run --name mysql -p 3306:3306`.
    ShortValue { likely: bool },
    /// The value of an Authorization header: a scheme may come first.
    Header,
    /// User and password.
    Login(char),
    /// User and password, or something else: `-u` means many things.
    LikelyLogin,
    /// A command in the shell's language.
    ShellText,
}

#[derive(Debug, Default)]
struct Scan {
    next: Next,
    program: Option<&'static Program>,
    /// A shell has been named: its `-c` takes a command.
    shell: bool,
    /// The last word was the bare name of a secret: `password = x` may follow.
    named: bool,
    depth: u8,
}

impl Scan {
    /// One whole argument, or the content of one quoted word: blanks in it belong to it.
    fn argument(&mut self, argument: &str) -> String {
        if let Some(masked) = self.announced(argument) {
            return masked;
        }
        let Some(blank) = argument.find(char::is_whitespace) else {
            return self.word(argument);
        };
        match Separator::find(argument) {
            // `PASSWORD=my secret` and `Authorization: Bearer x` as one argument: all the rest is the value.
            Some(separator) if separator.at < blank => separator.mask(argument),
            _ => self.text(argument, false),
        }
    }

    /// Text of several words. In the shell's language operators end words too.
    fn text(&mut self, text: &str, shell: bool) -> String {
        if self.depth == MAX_DEPTH {
            return MASK.to_owned();
        }
        self.depth += 1;
        let between = |letter: char| letter.is_whitespace() || shell && ";|&()<>".contains(letter);
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let (gap, tail) = split(rest, rest.len() - rest.trim_start_matches(between).len());
            masked.push_str(gap);
            let (word, tail) = split(tail, word_end(tail, between));
            if !word.is_empty() {
                let clean = self.text_word(word);
                masked.push_str(&clean);
                if clean != word && has_open_quote(word) {
                    // The secret goes on behind the blank; its end was cut off.
                    break;
                }
            }
            rest = tail;
        }
        self.depth -= 1;
        masked
    }

    /// One word of a text, with its quotes.
    fn text_word(&mut self, word: &str) -> String {
        if let Some((quote, content)) = quoted(word) {
            return format!("{quote}{}{quote}", self.argument(content));
        }
        if let Some(masked) = self.announced(word) {
            return masked;
        }
        let Some(blank) = word.find(char::is_whitespace) else {
            return self.word(word);
        };
        match Separator::find(word) {
            Some(separator) if separator.at < blank => separator.mask(word),
            _ => self.pieces(word),
        }
    }

    /// A word that is quoted in part and holds blanks: `-o'ProxyCommand sshpass -p x'`.
    fn pieces(&mut self, word: &str) -> String {
        let Some(start) = word.find(['\'', '"']) else {
            return self.plain(word);
        };
        let (before, tail) = split(word, start);
        let Some(end) = tail
            .char_indices()
            .skip(1)
            .find(|(_, letter)| tail.starts_with(*letter))
            .map(|(at, _)| at + 1)
        else {
            return self.plain(word);
        };
        let (piece, after) = split(tail, end);
        let mut masked = if before.is_empty() {
            String::new()
        } else {
            self.plain(before)
        };
        masked.push_str(&match quoted(piece) {
            Some((quote, content)) => format!("{quote}{}{quote}", self.argument(content)),
            None => self.plain(piece),
        });
        if !after.is_empty() {
            masked.push_str(&self.text(after, false));
        }
        masked
    }

    /// A word with blanks behind a backslash or a quote that nothing closes: what stands between blanks, one by one.
    fn plain(&mut self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        for part in text.split_inclusive(char::is_whitespace) {
            let (quotes, part) = split(part, part.len() - part.trim_start_matches(['\'', '"']).len());
            let (word, blank) = split(part, part.trim_end().len());
            masked.push_str(quotes);
            if !word.is_empty() {
                masked.push_str(&self.announced(word).unwrap_or_else(|| self.word(word)));
            }
            masked.push_str(blank);
        }
        masked
    }

    /// What an earlier argument or the program says of this one, or an option for a login.
    fn announced(&mut self, argument: &str) -> Option<String> {
        self.expected(argument)
            .or_else(|| self.of_program(argument))
            .or_else(|| logins::mask_option(argument))
    }

    /// What an earlier argument said this one is.
    fn expected(&mut self, argument: &str) -> Option<String> {
        match std::mem::take(&mut self.next) {
            Next::Anything => None,
            Next::LikelyValue | Next::AfterBareName if is_option(argument) => None,
            Next::ShortValue { likely: true } if is_option(argument) => None,
            Next::Value | Next::ShortValue { .. } if is_plain_option(argument) => None,
            Next::ShortValue { .. } if programs::is_port_mapping(argument) => None,
            // `password = x`: the sign is read by `word`.
            Next::AfterBareName if sign_of(argument).is_some() => None,
            Next::AfterBareName => {
                // `auth password x`: a value or a name, so both are masked.
                if names::announces(argument) {
                    self.next = Next::AfterBareName;
                }
                Some(MASK.to_owned())
            }
            Next::Value | Next::LikelyValue | Next::ShortValue { .. } => {
                // `--password -token x`: a password or an option, so both are masked.
                self.expect_after_option(argument);
                Some(MASK.to_owned())
            }
            Next::Header if is_scheme(argument) => {
                self.next = Next::Value;
                Some(argument.to_owned())
            }
            Next::Header => Some(mask_after_scheme(argument)),
            Next::Login(separator) => Some(mask_login(argument, separator)),
            Next::LikelyLogin => logins::mask_likely(argument),
            Next::ShellText => Some(self.text(argument, true)),
        }
    }

    /// The options of a program that is known.
    fn of_program(&mut self, argument: &str) -> Option<String> {
        match self.program?.find(argument)? {
            Found::Next(carries) => {
                self.next = match carries {
                    Carries::Secret | Carries::Attached => Next::ShortValue { likely: false },
                    Carries::Likely => Next::ShortValue { likely: true },
                    Carries::Login(separator) => Next::Login(separator),
                };
                Some(argument.to_owned())
            }
            Found::Here(option, value, Carries::Login(separator)) => {
                Some(format!("{option}{}", mask_login(value, separator)))
            }
            Found::Here(_, value, _) if programs::is_port_mapping(value) => Some(argument.to_owned()),
            Found::Here(option, _, _) => Some(format!("{option}{MASK}")),
        }
    }

    /// A word without blanks.
    fn word(&mut self, word: &str) -> String {
        let bare = word.trim_matches(['\'', '"', '`', ',', '(', ')', '[', ']', '{', '}']);
        let after_name = std::mem::take(&mut self.named);
        if let Some(program) = programs::named(bare) {
            self.program = Some(program);
        }
        self.shell |= programs::is_shell(bare);
        if after_name && let Some(sign) = sign_of(word) {
            if word.len() == sign.len() {
                self.next = Next::Value;
                return word.to_owned();
            }
            return format!("{sign}{MASK}");
        }
        if let Some(separator) = Separator::find(word) {
            if separator.value(word).is_empty() {
                // `api_key:` and, inside a text, `password=` with a blank behind it. Of two arguments only the first
                // form is read so: `PASSWORD= command` sets nothing.
                if separator.colon || self.depth > 0 {
                    self.next = if separator.scheme { Next::Header } else { Next::Value };
                }
                return mask_user_info(word);
            }
            return separator.mask(word);
        }
        if bare.starts_with('-') {
            self.expect_after_option(bare);
            if self.shell && self.next == Next::Anything && is_command_option(bare) {
                self.next = Next::ShellText;
            }
        } else {
            self.named = names::secrecy(bare) != Secrecy::Open;
            // `Foo:Basic x` too.
            let scheme = bare.rsplit(['=', ':']).next().unwrap_or(bare);
            if scheme.eq_ignore_ascii_case("bearer") {
                self.next = Next::Value;
            } else if scheme.eq_ignore_ascii_case("basic") {
                self.next = Next::LikelyValue;
            } else if names::announces(bare) {
                self.next = Next::AfterBareName;
            }
        }
        mask_user_info(word)
    }

    fn expect_after_option(&mut self, option: &str) {
        if !option.starts_with('-') || option.contains('=') || names::is_switch(option) {
            return;
        }
        self.next = match names::secrecy(option) {
            Secrecy::Open if logins::is_option(option) => Next::LikelyLogin,
            Secrecy::Open => return,
            Secrecy::Likely => Next::LikelyValue,
            Secrecy::Sure => Next::Value,
        };
    }
}

/// The `=` or `:` behind the name of a secret.
#[derive(Debug)]
struct Separator {
    /// Where it is, in bytes.
    at: usize,
    colon: bool,
    /// The name is that of a header whose value begins with a scheme.
    scheme: bool,
}

impl Separator {
    /// The first one in `text`.
    fn find(text: &str) -> Option<Self> {
        for (at, sign) in text.match_indices(['=', ':']) {
            let (before, after) = split(text, at);
            let after = split(after, 1).1;
            let before = before.trim_end_matches(['"', '\'', ']', '\\']);
            let is_name = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
            let start = before.len()
                - before
                    .chars()
                    .rev()
                    .take_while(|&c| is_name(c))
                    .map(char::len_utf8)
                    .sum::<usize>();
            let (outside, name) = split(before, start);
            // `-Dkey=x`: the option's letter is not part of the name.
            let letter = name
                .strip_prefix('-')
                .and_then(|rest| rest.split_at_checked(1))
                .map_or("", |(_, rest)| rest);
            let secrecy = names::secrecy(name).max(names::secrecy(letter));
            let colon = sign == ":";
            // `http://auth.example.net:80/` and `auth-server:1992` name hosts.
            let host = colon && is_port(after) && (secrecy == Secrecy::Likely || outside.ends_with("//"));
            if secrecy != Secrecy::Open && !host {
                return Some(Self {
                    at,
                    colon,
                    scheme: names::has_scheme(name),
                });
            }
        }
        None
    }

    fn value<'a>(&self, text: &'a str) -> &'a str {
        split(text, self.at + 1).1
    }

    /// `text` up to the separator, and the mask.
    fn mask(&self, text: &str) -> String {
        let (before, value) = split(text, self.at + 1);
        let cleaned = mask_user_info(text);
        if !cleaned.starts_with(before) {
            // The separator lies inside user-info, or what looks like it.
            return match Self::find(&cleaned) {
                // `https://token:x@host`: a user of that name.
                None if self.colon => cleaned,
                Some(next) if self.colon => next.mask(&cleaned),
                // `https://u:pw=x@host` or `https://h:p?token=x@y`: how far the secret reaches is not clear.
                _ => format!("{}{MASK}", cleaned.split(MASK).next().unwrap_or_default()),
            };
        }
        if self.scheme {
            return format!("{before}{}", mask_after_scheme(value));
        }
        let blank = if value.starts_with(' ') { " " } else { "" };
        format!("{before}{blank}{MASK}")
    }
}

/// The value of an Authorization header: its scheme stays.
fn mask_after_scheme(value: &str) -> String {
    let trimmed = value.trim_start();
    let (blank, _) = split(value, value.len() - trimmed.len());
    match trimmed.split_once(char::is_whitespace) {
        Some((scheme, _)) if is_scheme(scheme) => format!("{blank}{scheme} {MASK}"),
        _ => format!("{blank}{MASK}"),
    }
}

/// The authentication schemes in use (IANA, HTTP Authentication Schemes, and those of large services).
fn is_scheme(word: &str) -> bool {
    [
        "Basic",
        "Bearer",
        "Digest",
        "Negotiate",
        "DPoP",
        "Token",
        "ApiKey",
        "AWS4-HMAC-SHA256",
    ]
    .iter()
    .any(|scheme| scheme.eq_ignore_ascii_case(word))
}

fn is_option(argument: &str) -> bool {
    argument.trim_start_matches('-').len() < argument.len()
        && argument
            .trim_start_matches('-')
            .starts_with(|letter: char| letter.is_ascii_alphabetic())
}

/// `--name`, `--name=value`, `-x`: what no one would choose for a password.
fn is_plain_option(argument: &str) -> bool {
    let name = argument.split('=').next().unwrap_or(argument);
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    is_option(name) && (name.starts_with("--") || argument.len() == 2) && name.chars().all(is_name)
}

/// The sign between a name and its value at the beginning of a word.
fn sign_of(word: &str) -> Option<&'static str> {
    ["=>", ":=", "=", ":"].into_iter().find(|sign| word.starts_with(sign))
}

/// `-c`, `-lc`, `-exc`.
fn is_command_option(option: &str) -> bool {
    option.len() <= 6
        && option.ends_with('c')
        && option
            .strip_prefix('-')
            .is_some_and(|letters| letters.bytes().all(|byte| byte.is_ascii_alphabetic()))
}

/// The content of a word that is quoted as a whole, with its quote.
fn quoted(word: &str) -> Option<(char, &str)> {
    let quote = word.chars().next().filter(|letter| matches!(letter, '\'' | '"'))?;
    let content = word.strip_prefix(quote)?.strip_suffix(quote)?;
    (!content.replace("\\\"", "").contains(quote)).then_some((quote, content))
}

/// Where the first word of `text` ends: at the first separator outside quotes. A quote that nothing closes is a letter.
fn word_end(text: &str, between: impl Fn(char) -> bool) -> usize {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '\'' | '"' => {
                let mut ahead = letters.clone();
                while let Some((_, inside)) = ahead.next() {
                    if inside == '\\' && letter == '"' {
                        ahead.next();
                    } else if inside == letter {
                        letters = ahead;
                        break;
                    }
                }
            }
            _ if between(letter) => return at,
            _ => {}
        }
    }
    text.len()
}

/// Whether a word holds a quote that it does not close.
fn has_open_quote(word: &str) -> bool {
    let mut open = None;
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        match (open, letter) {
            (None | Some('"'), '\\') => {
                letters.next();
            }
            (None, '\'' | '"') => open = Some(letter),
            (Some(quote), _) if quote == letter => open = None,
            _ => {}
        }
    }
    open.is_some()
}

/// `str::split_at` that cannot fail: a place that is no boundary leaves all in the first part.
fn split(text: &str, at: usize) -> (&str, &str) {
    text.split_at_checked(at).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests;
