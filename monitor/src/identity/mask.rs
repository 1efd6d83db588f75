//! Secrets in command lines, replaced by `***`.
//!
//! Masked is what stands
//! - after a name that announces a secret (`names`): `--password=x`, `--password x`, `-password x`, `PASSWORD=x`,
//!   `api_key: x`, `Authorization: Bearer x`, `"token":"x"`;
//! - before the `@` of a URL or of `user:password@host`;
//! - behind the short options of well-known programs (`programs`): `mysql -px`, `curl -u user:x`;
//! - in any of these forms inside one argument, such as the text of `sh -c` or a rewritten title.
//!
//! Where it is not clear how far a secret reaches, more is masked rather than less. Not masked are names that tell
//! *about* a secret (`--key-file`, `--token-ttl`): paths of files are no secrets, and an operator needs them. Not
//! recognised are secrets that nothing announces: bare arguments, unknown short options, here-documents.

mod names;
mod programs;

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
    arguments.into_iter().map(|argument| scan.argument(&argument)).collect()
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
    /// The value of an Authorization header: a scheme may come first.
    Header,
    /// User and password.
    Login(char),
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
        if let Some(masked) = self.expected(argument).or_else(|| self.of_program(argument)) {
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
                masked.push_str(&self.text_word(word));
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
        if let Some(masked) = self.expected(word).or_else(|| self.of_program(word)) {
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
            return self.text(word, false);
        };
        let (before, tail) = split(word, start);
        let quote_end = tail
            .char_indices()
            .skip(1)
            .find(|(_, letter)| tail.starts_with(*letter))
            .map(|(at, _)| at + 1);
        let (piece, after) = split(tail, quote_end.unwrap_or(tail.len()));
        let mut masked = if before.is_empty() {
            String::new()
        } else {
            self.word(before)
        };
        masked.push_str(&match quoted(piece) {
            Some((quote, content)) => format!("{quote}{}{quote}", self.argument(content)),
            None => self.text(piece, false),
        });
        if !after.is_empty() {
            masked.push_str(&self.text(after, false));
        }
        masked
    }

    /// What an earlier argument said this one is.
    fn expected(&mut self, argument: &str) -> Option<String> {
        match std::mem::take(&mut self.next) {
            Next::Anything => None,
            Next::LikelyValue if is_option(argument) => None,
            Next::Value | Next::LikelyValue => {
                // `--password --token x`: a password or an option, so both are masked.
                self.expect_after_option(argument);
                Some(MASK.to_owned())
            }
            Next::Header if is_scheme(argument) => {
                self.next = Next::Value;
                Some(argument.to_owned())
            }
            Next::Header => Some(mask_after_scheme(argument)),
            Next::Login(separator) => Some(mask_login(argument, separator)),
            Next::ShellText => Some(self.text(argument, true)),
        }
    }

    /// The options of a program that is known.
    fn of_program(&mut self, argument: &str) -> Option<String> {
        match self.program?.find(argument)? {
            Found::Next(carries) => {
                self.next = match carries {
                    Carries::Secret | Carries::Attached => Next::Value,
                    Carries::Login(separator) => Next::Login(separator),
                };
                Some(argument.to_owned())
            }
            Found::Here(option, value, Carries::Login(separator)) => {
                Some(format!("{option}{}", mask_login(value, separator)))
            }
            Found::Here(option, _, _) => Some(format!("{option}{MASK}")),
        }
    }

    /// A word without blanks.
    fn word(&mut self, word: &str) -> String {
        let bare = word.trim_matches(['\'', '"', '`', ',']);
        let after_name = std::mem::take(&mut self.named);
        if let Some(program) = programs::named(bare) {
            self.program = Some(program);
        }
        self.shell |= programs::is_shell(bare);
        if after_name && let Some(sign) = ["=>", ":=", "=", ":"].into_iter().find(|sign| word.starts_with(sign)) {
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
        } else if bare.eq_ignore_ascii_case("bearer") {
            self.next = Next::Value;
        } else {
            self.named = names::secrecy(bare) != Secrecy::Open;
        }
        mask_user_info(word)
    }

    fn expect_after_option(&mut self, option: &str) {
        if !option.starts_with('-') || option.contains('=') || names::is_switch(option) {
            return;
        }
        self.next = match names::secrecy(option) {
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

fn mask_login(login: &str, separator: char) -> String {
    match login.split_once(separator) {
        Some((user, _)) => format!("{user}{separator}{MASK}"),
        None => login.to_owned(),
    }
}

/// `scheme://user:password@host` without its user-info (RFC 3986, 3.2.1), and `user:password@host`.
fn mask_user_info(word: &str) -> String {
    if !word.contains('@') {
        return word.to_owned();
    }
    if !word.contains("://") {
        return mask_plain_user_info(word);
    }
    let mut masked = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(scheme) = rest.find("://") {
        let (before, after) = split(rest, scheme + 3);
        masked.push_str(before);
        // Up to the next URL in a list of them.
        let end = after.match_indices("://").find_map(|(next, _)| {
            let is_scheme = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
            let list = split(after, next).0.trim_end_matches(is_scheme);
            list.ends_with([',', ';', '|']).then_some(list.len())
        });
        let end = end.unwrap_or(after.len());
        let (url, _) = split(after, end);
        let authority = split(url, url.find(['/', '?', '#']).unwrap_or(url.len())).0;
        // A password may hold `/`, `?`, `#` and `@` although it must not: then the authority ends too early, and what
        // stands for its port is none.
        let user_end = match authority.split_once('@') {
            Some((user, _)) if !user.contains(':') => authority.rfind('@'),
            Some(_) => url.rfind('@'),
            None if authority
                .split_once(':')
                .is_some_and(|(_, port)| !is_port(port) && !port.ends_with(']')) =>
            {
                url.rfind('@')
            }
            None => None,
        };
        if let Some(at) = user_end {
            masked.push_str(MASK);
            rest = split(after, at).1;
        } else {
            rest = after;
        }
    }
    masked.push_str(rest);
    masked
}

fn mask_plain_user_info(word: &str) -> String {
    let starts = [Some(0), word.find('=').map(|at| at + 1)];
    for (before, rest) in starts.into_iter().flatten().map(|start| split(word, start)) {
        let Some((login, host)) = rest.rsplit_once('@') else {
            continue;
        };
        let Some((user, password)) = login.split_once(':') else {
            continue;
        };
        let is_user = user
            .trim_start_matches(['"', '\''])
            .chars()
            .all(|c| c.is_alphanumeric() || "._%+-".contains(c));
        // An image's digest (`name:tag@sha256:…`), and an address at an interface (`127.0.0.1:53@eth0`).
        let other = host.is_empty() || host.starts_with("sha256:") || host.starts_with("sha512:") || is_port(password);
        if is_user && names::secrecy(user) == Secrecy::Open && !password.is_empty() && !other {
            return format!("{before}{MASK}@{host}");
        }
    }
    word.to_owned()
}

/// Whether text begins with a port, and nothing that would make it something else.
fn is_port(text: &str) -> bool {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = split(text, end);
    (1..=5).contains(&digits.len()) && (rest.is_empty() || rest.starts_with(['/', ',', '?', '#', '"', '\'']))
}

fn is_option(argument: &str) -> bool {
    argument.trim_start_matches('-').len() < argument.len()
        && argument
            .trim_start_matches('-')
            .starts_with(|letter: char| letter.is_ascii_alphabetic())
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

/// `str::split_at` that cannot fail: a place that is no boundary leaves all in the first part.
fn split(text: &str, at: usize) -> (&str, &str) {
    text.split_at_checked(at).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests;
