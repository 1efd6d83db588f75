//! Command lines as they are met, and secrets that must never show.

use proptest::prelude::*;

mod commands;

use super::*;
use commands::{KEPT, REAL, SECRET};

fn masked(arguments: &[&str]) -> Vec<String> {
    mask(arguments.iter().map(|&argument| argument.to_owned()).collect())
}

#[test]
fn real_command_lines_lose_their_secrets_and_nothing_else() {
    for (command, expected) in REAL {
        assert_eq!(masked(command), *expected, "{command:?}");
    }
}

#[test]
fn a_secret_never_shows_and_what_stands_around_it_does() {
    for command in SECRET {
        let output = masked(command);
        assert_eq!(output.len(), command.len());
        assert!(!output.concat().contains("X1y2"), "{command:?} became {output:?}");
        for (before, after) in command.iter().zip(&output) {
            assert!(
                before.contains("X1y2") || before == after,
                "{command:?} became {output:?}"
            );
        }
    }
    assert_eq!(masked(&["app", "-u", "admin:x"]), ["app", "-u", "admin:***"]);
    assert_eq!(masked(&["app", "--user=admin:x"]), ["app", "--user=admin:***"]);
}

#[test]
fn command_lines_without_a_secret_stay_as_they_are() {
    for command in KEPT {
        assert_eq!(masked(command), *command);
    }
}

/// Work that grows with the square of the length would take minutes here: each of these is hard for one of the passes.
#[test]
fn long_arguments_are_masked_in_a_moment() {
    let started = std::time::Instant::now();
    for part in [
        "sk-",
        "AKIA",
        "eyJ",
        "eyJ.",
        "ghp_",
        "-----BEGIN PRIVATE KEY",
        "\"",
        "q\\ ",
        "password ",
        "a=",
        "-u:",
    ] {
        let long = part.repeat(128 * 1024 / part.len());
        assert_eq!(masked(&["sh", "-c", &long, &long]).len(), 4);
    }
    assert!(
        started.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn quotes_nested_too_deep_are_masked_as_a_whole() {
    let mut text = "app --flag x".to_owned();
    for level in 0..8 {
        let quote = if level % 2 == 0 { '\'' } else { '"' };
        text = format!("a {quote}{text}{quote}");
    }
    // Each level changes the quote, so the outermost closes at its first counterpart inside: whatever the shape, the
    // scan ends and keeps the count.
    assert_eq!(masked(&["sh", "-c", &text]).len(), 3);
}

const NAMES: &[&str] = &[
    "password",
    "passwd",
    "pass",
    "db-password",
    "token",
    "db_token",
    "A_TOKEN",
    "secret",
    "client-secret",
    "api_key",
    "key",
    "auth",
    "credential",
    "credentials",
    "PGPASSWORD",
    "authToken",
];

/// A secret as people and machines make them. It begins with a letter or digit, so that it is not an option, and it
/// holds no quote, by which texts would end it.
fn secret() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9!#$%^&+/.,:;_@~=?-]{7,40}"
}

/// Whether any six letters in a row of `secret` are in `output`.
fn leaks(secret: &str, output: &[String]) -> bool {
    secret.as_bytes().windows(6).any(|part| {
        output
            .iter()
            .any(|argument| argument.as_bytes().windows(6).any(|shown| shown == part))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_secret_behind_a_listed_word_never_shows(name in prop::sample::select(NAMES), secret in secret(), form in 0..18) {
        let command: Vec<String> = match form {
            0 => vec![format!("--{name}={secret}")],
            1 => vec![format!("--{name}"), secret.clone()],
            2 => vec![format!("-{name}"), secret.clone()],
            3 => vec![format!("{name}={secret}")],
            4 => vec![format!("{name}: {secret}")],
            5 => vec![format!("{name}:"), secret.clone()],
            6 => vec!["sh".into(), "-c".into(), format!("run --{name} '{secret}' x")],
            7 => vec!["sh".into(), "-c".into(), format!("{name}=\"{secret}\" run")],
            8 => vec![format!("title of a server --{name} {secret} end")],
            9 => vec!["-d".into(), format!("{{\"{name}\":\"{secret}\"}}")],
            10 => vec![format!("https://host/path?a=b&{name}={secret}")],
            11 => vec![name.to_owned(), secret.clone()],
            12 => vec![format!("{name} {secret}")],
            13 => vec![format!("FOO=1 run {name} {secret}")],
            14 => vec!["sh".into(), "-c".into(), format!("run {name} \"{secret}\" x")],
            15 => vec!["user".into(), "me".into(), name.to_uppercase(), secret.clone()],
            16 => vec![name.to_owned(), "=".into(), secret.clone()],
            _ => vec![format!("--set={name}={secret}")],
        };
        let command: Vec<String> = std::iter::once("app".to_owned()).chain(command).chain(["1992".to_owned()]).collect();
        let output = mask(command.clone());
        prop_assert_eq!(output.len(), command.len());
        prop_assert!(!leaks(&secret, &output), "{:?} became {:?}", command, output);
        prop_assert_eq!(output.last().map(String::as_str), Some("1992"));
    }

    #[test]
    fn a_password_behind_a_user_or_a_scheme_never_shows(secret in secret(), form in 0..9) {
        let command: Vec<String> = match form {
            0 => vec!["-u".into(), format!("admin:{secret}")],
            1 => vec![format!("--user=admin:{secret}")],
            2 => vec!["--user".into(), format!("admin:{secret}")],
            3 => vec![format!("-uadmin:{secret}")],
            4 => vec![format!("serve --user admin:{secret} now")],
            5 => vec!["Basic".into(), secret.clone()],
            6 => vec![format!("Basic {secret}")],
            7 => vec!["--pin".into(), secret.clone()],
            _ => vec!["mysql".into(), format!("-p{secret}")],
        };
        let command: Vec<String> = std::iter::once("app".to_owned()).chain(command).chain(["1992".to_owned()]).collect();
        let output = mask(command.clone());
        prop_assert!(!leaks(&secret, &output), "{:?} became {:?}", command, output);
        prop_assert_eq!(output.last().map(String::as_str), Some("1992"));
    }

    #[test]
    fn a_password_in_a_url_never_shows(secret in secret(), form in 0..4) {
        let command = match form {
            0 => format!("postgres://alice:{secret}@db.example:5432/shop"),
            1 => format!("--uri=redis://:{secret}@10.0.0.1"),
            2 => format!("a text with https://{}@host/ in it", secret.replace(['/', '?', '#', ':'], "x")),
            _ => format!("root:{secret}@tcp(db:3306)/shop"),
        };
        // `u:12345/x@host` begins like a host with a port, and a comma with `://` behind it begins the next URL.
        let digits = secret.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(0);
        prop_assume!(digits == 0 || !secret[digits..].starts_with(['/', '?', '#', ',']));
        prop_assume!(!secret.contains("://"));
        let output = mask(vec!["app".to_owned(), command.clone()]);
        prop_assert!(!leaks(&secret, &output), "{:?} became {:?}", command, output);
    }

    #[test]
    fn any_command_line_is_masked_without_failing(arguments in prop::collection::vec("\\PC{0,60}", 0..12)) {
        prop_assert_eq!(mask(arguments.clone()).len(), arguments.len());
    }

    #[test]
    fn any_text_of_quotes_blanks_and_options_is_masked_without_failing(text in "[ '\"\\\\;=:@/a-cé-]{0,200}") {
        let command = vec!["mysql".to_owned(), "sh".to_owned(), "-c".to_owned(), text];
        prop_assert_eq!(mask(command).len(), 4);
    }
}
