//! Users with their passwords: `user:password` behind an option, and the user-info of URLs.

use std::net::SocketAddr;

use super::{MASK, names, split};

/// Options and variables whose last word is one of these may carry `user:password`.
const USERS: [&str; 4] = ["user", "username", "userid", "login"];
/// Words that begin with `-u` and are no user.
const NO_USERS: [&str; 4] = ["-udp", "-unix", "-url", "-uri"];

/// Whether the argument after this one may be `user:password`, whatever the program.
pub(super) fn is_option(option: &str) -> bool {
    option == "-u" || names::ends_in(option, &USERS)
}

/// `--user=alice:x`, `USER=alice:x` and `-ualice:x` without the password.
pub(super) fn mask_option(argument: &str) -> Option<String> {
    let start = match argument.find('=') {
        Some(at)
            if is_option(split(argument, at).0)
                && names::secrecy(split(argument, at).0) == names::Secrecy::Open
                && !split(argument, at).0.contains(char::is_whitespace) =>
        {
            at + 1
        }
        _ if argument.starts_with("-u") && !NO_USERS.contains(&argument.split(':').next().unwrap_or_default()) => 2,
        _ => return None,
    };
    let (option, login) = split(argument, start);
    mask_likely(login).map(|login| format!("{option}{login}"))
}

/// `user:password` without its password; none if this is something else: a URL, an address with its port, or the
/// numbers of a user and a group.
pub(super) fn mask_likely(login: &str) -> Option<String> {
    let (user, password) = login.split_once(':')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let ids = !user.is_empty() && digits(user) && digits(password);
    let other = password.is_empty() || password.starts_with("//") || ids || login.parse::<SocketAddr>().is_ok();
    (!other && !login.starts_with("--")).then(|| mask_login(login, ':'))
}

pub(super) fn mask_login(login: &str, separator: char) -> String {
    match login.split_once(separator) {
        Some((user, _)) => format!("{user}{separator}{MASK}"),
        None => login.to_owned(),
    }
}

/// `scheme://user:password@host` without its user-info (RFC 3986, 3.2.1), and `user:password@host`.
pub(super) fn mask_user_info(word: &str) -> String {
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
            .all(|c| c.is_alphanumeric() || "._%+-*".contains(c));
        // An image's digest (`name:tag@sha256:…`), and an address at an interface (`127.0.0.1:53@eth0`).
        let other = host.is_empty() || host.starts_with("sha256:") || host.starts_with("sha512:") || is_port(password);
        if is_user && names::secrecy(user) == names::Secrecy::Open && !password.is_empty() && !other {
            return format!("{before}{MASK}@{host}");
        }
    }
    word.to_owned()
}

/// Whether text begins with a port, and nothing that would make it something else.
pub(super) fn is_port(text: &str) -> bool {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = split(text, end);
    (1..=5).contains(&digits.len()) && (rest.is_empty() || rest.starts_with(['/', ',', '?', '#', '"', '\'']))
}
