//! Secrets that are known by their shape, wherever they stand. The prefixes are those that the services document.

use std::borrow::Cow;

use super::{MASK, split};

/// What a secret with a prefix looks like.
struct Shape {
    prefix: &'static str,
    /// The letters behind the prefix.
    letters: fn(u8) -> bool,
    /// How many of them there are at least.
    least: usize,
    /// The prefix begins a word: short ones occur inside others.
    word: bool,
    /// The prefix is no secret and stays.
    stays: bool,
}

const fn token(prefix: &'static str, least: usize) -> Shape {
    Shape {
        prefix,
        letters: is_base64url,
        least,
        word: false,
        stays: false,
    }
}

const fn word(prefix: &'static str, letters: fn(u8) -> bool, least: usize) -> Shape {
    Shape {
        prefix,
        letters,
        least,
        word: true,
        stays: false,
    }
}

const fn webhook(prefix: &'static str) -> Shape {
    Shape {
        prefix,
        letters: is_path,
        least: 1,
        word: false,
        stays: true,
    }
}

/// Each costs one search through the argument.
const SHAPES: [Shape; 24] = [
    // GitHub: personal, OAuth, user, server and refresh tokens. `ghp_import` is a program.
    token("ghp_", 10),
    token("gho_", 10),
    token("ghu_", 10),
    token("ghs_", 10),
    token("ghr_", 10),
    token("github_pat_", 10),
    // GitLab.
    token("glpat-", 10),
    // Slack.
    token("xoxa-", 8),
    token("xoxb-", 8),
    token("xoxe-", 8),
    token("xoxp-", 8),
    token("xoxr-", 8),
    token("xoxs-", 8),
    token("xapp-", 10),
    // AWS: access keys for long and for a session.
    word("AKIA", is_upper_or_digit, 16),
    word("ASIA", is_upper_or_digit, 16),
    // OpenAI, Anthropic and others; Stripe.
    word("sk-", is_base64url, 20),
    token("sk_live_", 10),
    token("sk_test_", 10),
    token("rk_live_", 10),
    // Google.
    word("AIza", is_base64url, 20),
    webhook("hooks.slack.com/services/"),
    webhook("hooks.slack.com/workflows/"),
    webhook("discord.com/api/webhooks/"),
];

/// `text` without what looks like a secret. Every shape costs one pass at most.
pub(super) fn mask(text: String) -> String {
    let mut masked = Cow::Owned(text);
    for shape in &SHAPES {
        replace(&mut masked, shape.prefix, |before, found| shape.span(before, found));
    }
    replace(&mut masked, "eyJ", jwt);
    replace(&mut masked, "-----BEGIN ", private_key);
    masked.into_owned()
}

/// Replaces what `span` finds at the places of `prefix`. It is given the text before the place and that from it on, and
/// returns how much stays and how much goes, in bytes.
fn replace(text: &mut Cow<'_, str>, prefix: &str, span: impl Fn(&str, &str) -> Option<(usize, usize)>) {
    if !text.contains(prefix) {
        return;
    }
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    while let Some(at) = split(text, done).1.find(prefix).map(|at| done + at) {
        let (before, found) = split(text, at);
        let (stays, goes) = span(before, found).unwrap_or((prefix.len(), 0));
        masked.push_str(split(before, done).1);
        masked.push_str(split(found, stays).0);
        if goes > 0 {
            masked.push_str(MASK);
        }
        done = at + stays + goes;
    }
    masked.push_str(split(text, done).1);
    *text = Cow::Owned(masked);
}

impl Shape {
    fn span(&self, before: &str, found: &str) -> Option<(usize, usize)> {
        // First, so that a run is walked once and not from each prefix inside it.
        if self.word && !begins_word(before) {
            return None;
        }
        let rest = split(found, self.prefix.len()).1;
        let run = run(rest, self.letters);
        if run < self.least {
            return None;
        }
        // Names of hosts and paths may begin with `sk-`: words in small letters.
        if self.prefix == "sk-" && !is_random(split(rest, run).0) {
            return None;
        }
        let prefix = self.prefix.len();
        Some(if self.stays { (prefix, run) } else { (0, prefix + run) })
    }
}

/// A JSON Web Token (RFC 7519; RFC 7516 for the encrypted ones): parts in base64url, the first of them an object.
fn jwt(before: &str, found: &str) -> Option<(usize, usize)> {
    if !begins_word(before) {
        return None;
    }
    let mut length = run(found, is_base64url);
    let mut parts = 1;
    while parts < 5 && found.as_bytes().get(length) == Some(&b'.') {
        length += 1 + run(split(found, length + 1).1, is_base64url);
        parts += 1;
    }
    (parts >= 3).then_some((0, length))
}

/// A private key in PEM (RFC 7468), up to its last line, or all the rest where that is missing.
fn private_key(_: &str, found: &str) -> Option<(usize, usize)> {
    const LONGEST_LABEL: usize = 64;
    let label = split(found, "-----BEGIN ".len()).1;
    let label = split(label, label.find("-----").filter(|&length| length <= LONGEST_LABEL)?).0;
    if !label.contains("PRIVATE KEY") {
        return None;
    }
    let end = found.find("-----END ").map_or(found.len(), |end| {
        let close = end + "-----END ".len();
        split(found, close)
            .1
            .find("-----")
            .map_or(found.len(), |at| close + at + 5)
    });
    Some((0, end))
}

fn run(text: &str, letters: fn(u8) -> bool) -> usize {
    text.bytes().take_while(|&byte| letters(byte)).count()
}

fn begins_word(before: &str) -> bool {
    !before.bytes().next_back().is_some_and(is_base64url)
}

/// Whether a run holds a digit, a capital, or more small letters in a row than words have.
fn is_random(run: &str) -> bool {
    run.bytes()
        .any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        || run.split(['-', '_']).any(|part| part.len() >= 20)
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_upper_or_digit(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_path(byte: u8) -> bool {
    is_base64url(byte) || b"/.%~+".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: &str = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8";

    #[test]
    fn secrets_of_a_known_shape_are_masked_wherever_they_stand() {
        for secret in [
            format!("ghp_{RANDOM}"),
            format!("gho_{RANDOM}"),
            format!("github_pat_{RANDOM}"),
            format!("glpat-{RANDOM}"),
            format!("xoxb-1-2-{RANDOM}"),
            format!("xoxp-{RANDOM}"),
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            format!("sk-{RANDOM}"),
            format!("sk-proj-{RANDOM}"),
            "sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
            format!("AIza{RANDOM}"),
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_".to_owned(),
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.".to_owned(),
            "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----".to_owned(),
            "-----BEGIN PRIVATE KEY-----\\nMII\\n-----END PRIVATE KEY-----".to_owned(),
        ] {
            assert_eq!(mask(secret.clone()), "***", "{secret}");
            assert_eq!(
                mask(format!("a={secret} \"{secret}\";b")),
                "a=*** \"***\";b",
                "{secret}"
            );
        }
        assert_eq!(
            mask("https://hooks.slack.com/services/T0/B0/xyz?a".to_owned()),
            "https://hooks.slack.com/services/***?a"
        );
        assert_eq!(mask("x -----BEGIN EC PRIVATE KEY-----\nMII cut".to_owned()), "x ***");
    }

    #[test]
    fn what_only_begins_alike_stays() {
        for text in [
            "ghp_import",
            "task-force-of-many-people-in-a-place",
            "sk-learn-models-of-the-shop",
            "AKIA",
            "XAKIAIOSFODNN7EXAMPLE",
            "eyJ.a",
            "keyJ.a.b",
            "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
            "hooks.slack.com/services/",
            "größe-ghp_é",
        ] {
            assert_eq!(mask(text.to_owned()), text);
        }
    }
}
