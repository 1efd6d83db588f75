//! Which names of options, variables and headers announce a secret.

/// How surely what follows a name is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Secrecy {
    /// Not at all.
    Open,
    /// `key` and `auth`: they also name switches that take no value (`mongod --auth`), so an option right behind one
    /// is not taken for its value.
    Likely,
    /// Whatever follows.
    Sure,
}

/// A word that ends in one of these is [`Secrecy::Sure`], in singular and plural: `PGPASSWORD`, `authtoken`.
const SURE_ENDINGS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pass",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "authorization",
];
/// Words that end so by chance.
const CHANCE: [&str; 6] = ["bypass", "compass", "encompass", "overpass", "surpass", "underpass"];
/// Words that are [`Secrecy::Sure`] as a whole.
const SURE: [&str; 15] = [
    "pw",
    "cred",
    "creds",
    "bearer",
    "cookie",
    "jwt",
    "otp",
    "totp",
    "pincode",
    "masterauth",
    "privatekey",
    "secretkey",
    "authkey",
    "signingkey",
    "encryptionkey",
];
/// Words before `key` that leave no doubt: `api_key`.
const SURE_KEYS: [&str; 8] = [
    "api",
    "access",
    "secret",
    "private",
    "auth",
    "signing",
    "encryption",
    "master",
];
/// Words that are [`Secrecy::Likely`] as a whole.
const LIKELY: [&str; 3] = ["key", "keys", "auth"];
/// A name that ends in one of these tells about a secret and does not hold it: where it lies, how long it lives.
/// Paths of files are no secrets.
const ABOUT: [&str; 33] = [
    "file",
    "files",
    "path",
    "dir",
    "directory",
    "name",
    "type",
    "mode",
    "ttl",
    "timeout",
    "lifetime",
    "expiry",
    "length",
    "len",
    "size",
    "count",
    "limit",
    "alg",
    "algo",
    "algorithm",
    "format",
    "policy",
    "method",
    "provider",
    "plugin",
    "prompt",
    "stdin",
    "fd",
    "url",
    "uri",
    "endpoint",
    "env",
    "required",
];
/// An option that begins so is a switch, such as `--no-password` and `--ask-pass`, and takes no value after a blank.
const SWITCHES: [&str; 6] = ["no", "disable", "without", "skip", "ask", "prompt"];

/// Judges a name, with or without the dashes of an option.
pub(super) fn secrecy(name: &str) -> Secrecy {
    // The shell's working directories; in other names `pwd` is a password.
    if matches!(name, "PWD" | "OLDPWD") {
        return Secrecy::Open;
    }
    let words = words(name);
    if words.last().is_some_and(|last| ABOUT.contains(&last.as_str())) {
        return Secrecy::Open;
    }
    let mut found = Secrecy::Open;
    let mut before = "";
    // Elsewhere in a name a pin is one of a circuit, or a verb: `--pin-threads`.
    if words.last().is_some_and(|last| last == "pin") {
        found = Secrecy::Sure;
    }
    for word in &words {
        found = found.max(match word.as_str() {
            "key" if matches!(before, "public" | "pub") => Secrecy::Open,
            "key" if SURE_KEYS.contains(&before) => Secrecy::Sure,
            word => of_word(word),
        });
        before = word;
    }
    found
}

/// Whether a bare word announces a secret: `password x`, `db_token x`, `set db.password x`. Its last word must be one
/// that names a secret (`auth-server` is none), and files with such an ending (`server.key`) are not meant.
pub(super) fn announces(word: &str) -> bool {
    if !word
        .chars()
        .all(|letter| letter.is_alphanumeric() || "_-.".contains(letter))
        || word.starts_with('-')
        || is_switch(word)
    {
        return false;
    }
    let least = if word.contains('.') {
        Secrecy::Sure
    } else {
        Secrecy::Likely
    };
    let part = word.rsplit('.').next().unwrap_or(word);
    let words = words(part);
    let [.., last] = words.as_slice() else {
        return false;
    };
    let of_last = if last == "pin" { Secrecy::Sure } else { of_word(last) };
    of_last != Secrecy::Open && secrecy(part) >= least
}

/// Whether the last word of a name is one of these.
pub(super) fn ends_in(name: &str, endings: &[&str]) -> bool {
    words(name).last().is_some_and(|last| endings.contains(&last.as_str()))
}

/// Whether an option of this name takes no value of its own.
pub(super) fn is_switch(name: &str) -> bool {
    words(name)
        .first()
        .is_some_and(|first| SWITCHES.contains(&first.as_str()))
}

/// Whether a header of this name carries a scheme before its secret (RFC 9110, 11.4).
pub(super) fn has_scheme(name: &str) -> bool {
    words(name).last().is_some_and(|last| last == "authorization")
}

fn of_word(word: &str) -> Secrecy {
    let singular = word
        .strip_suffix('s')
        .filter(|stem| !stem.ends_with('s'))
        .unwrap_or(word);
    // `PASSWORD2`.
    let singular = singular.trim_end_matches(|letter: char| letter.is_ascii_digit());
    if SURE.contains(&word) || !CHANCE.contains(&word) && SURE_ENDINGS.iter().any(|ending| singular.ends_with(ending)) {
        Secrecy::Sure
    } else if LIKELY.contains(&word) {
        Secrecy::Likely
    } else {
        Secrecy::Open
    }
}

/// The words of a name in lower case: split at everything but letters and digits, and where a capital follows a small
/// letter.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut small = false;
    for letter in name.chars() {
        let boundary = small && letter.is_ascii_uppercase();
        if (boundary || !letter.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
        }
        small = letter.is_ascii_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_sure_or_likely() {
        for name in [
            "--password",
            "-password",
            "--db-password",
            "dbPassword",
            "PGPASSWORD",
            "MYSQL_PWD",
            "passwd",
            "--passphrase",
            "DBPASS",
            "--sftp-pass",
            "requirepass",
            "secret",
            "CLIENT_SECRET",
            "secrets",
            "token",
            "--db-token",
            "authToken",
            "GITHUB_TOKEN",
            "api_key",
            "apikey",
            "X-Api-Key",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "credential",
            "credentials",
            "creds",
            "Authorization",
            "Proxy-Authorization",
            "oauth2-bearer",
            "spring.datasource.password",
            "Cookie",
            "--password-v2",
            "PASSWORD2",
            "--otp",
            "--user-pin",
        ] {
            assert_eq!(secrecy(name), Secrecy::Sure, "{name}");
        }
        for name in ["key", "--key", "auth", "--auth", "redis_auth", "encryption-keys"] {
            assert_eq!(secrecy(name), Secrecy::Likely, "{name}");
        }
    }

    #[test]
    fn other_names_are_open() {
        for name in [
            "--keyboard",
            "--author",
            "monkey",
            "--key-file",
            "--keyfile",
            "tlsCertificateKeyFile",
            "--password-file",
            "PGPASSFILE",
            "--token-ttl",
            "--auth-type",
            "--tokenizer",
            "--public-key",
            "PWD",
            "OLDPWD",
            "--bypass",
            "--pin-threads",
            "spin",
            "--compass",
            "--authority",
            "port",
            "",
            "--",
            "https",
        ] {
            assert_eq!(secrecy(name), Secrecy::Open, "{name}");
        }
    }

    #[test]
    fn bare_words_announce_a_secret_if_they_end_in_its_name() {
        for word in ["password", "key", "AUTH", "db_token", "db.password", "pin", "api-key"] {
            assert!(announces(word), "{word}");
        }
        for word in [
            "token.py",
            "auth-server",
            "server.key",
            "private.key",
            "/etc/password",
            "./token",
            "monkey",
            "no-password",
            "--password",
            "public-key",
            "key-file",
            "",
            ".",
        ] {
            assert!(!announces(word), "{word}");
        }
    }

    #[test]
    fn switches_take_no_value() {
        assert!(is_switch("--no-password") && is_switch("--ask-vault-pass"));
        assert!(!is_switch("--password") && !is_switch("--node-token"));
    }
}
