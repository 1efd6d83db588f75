//! E-mail addresses, which a few notes and references hold: they are left out of every table.

use std::borrow::Cow;

/// What stands for an address that was left out.
const LEFT_OUT: &str = "(address left out)";

/// The text without the e-mail addresses in it: `x@example.org`, and `x&example.org`, as IANA writes them.
pub(crate) fn without_addresses(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut done = 0;
    for (at, mark) in text.match_indices(['@', '&']) {
        let before = text.get(done..at).unwrap_or_default();
        let after = text.get(at + mark.len()..).unwrap_or_default();
        let user = before.len() - before.trim_end_matches(is_of_user).len();
        let host = host(after);
        if user > 0 && host > 0 {
            kept.push_str(before.get(..before.len() - user).unwrap_or_default());
            kept.push_str(LEFT_OUT);
            done = at + mark.len() + host;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    kept.push_str(text.get(done..).unwrap_or_default());
    Cow::Owned(kept)
}

fn is_of_user(letter: char) -> bool {
    letter.is_alphanumeric() || "._%+-".contains(letter)
}

/// Length of the host's name that a text begins with: labels with dots between them, of which the last has letters alone.
fn host(text: &str) -> usize {
    let end = text
        .find(|letter: char| !(letter.is_alphanumeric() || letter == '.' || letter == '-'))
        .unwrap_or(text.len());
    let host = text.get(..end).unwrap_or_default().trim_end_matches(['.', '-']);
    let is_host = host
        .rsplit_once('.')
        .is_some_and(|(labels, top)| !labels.is_empty() && top.len() >= 2 && top.chars().all(char::is_alphabetic));
    if is_host { host.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::without_addresses;

    #[test]
    fn addresses_are_left_out_and_what_only_looks_like_one_stays() {
        for (text, kept) in [
            ("ask a.b+c@mail.example.org.", "ask (address left out)."),
            ("<feil&kronos.nisd.example.com> 126/tcp", "<(address left out)> 126/tcp"),
            ("a@b.example, c&d.example", "(address left out), (address left out)"),
            ("Miele@home Protocol", "Miele@home Protocol"),
            ("Ports 44515 & 44516.", "Ports 44515 & 44516."),
            ("Research & Development, R&D", "Research & Development, R&D"),
            ("@example.org", "@example.org"),
            ("a@1.2", "a@1.2"),
            ("", ""),
        ] {
            assert_eq!(without_addresses(text), kept);
        }
    }
}
