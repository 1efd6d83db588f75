use super::*;

fn found(words: &str) -> Found<'static> {
    let words: Vec<String> = words
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    Registry::embedded().search(&words)
}

fn names(words: &str) -> Vec<&'static str> {
    let names = found(words).hits.into_iter();
    names.filter_map(|hit| hit.registration.service()).collect()
}

#[test]
fn names_come_before_descriptions_and_rows_of_two_transports_are_one() {
    let found = found("ssh");
    assert_eq!(found.hits[0].registration.service(), Some("ssh"));
    assert!(found.hits[0].transports.len() >= 2);
    let stun = names("stun");
    assert_eq!(stun[0], "stun");
    for name in ["stun-p1", "stun-p2", "stun-p3", "stun-port", "stuns"] {
        assert!(stun.contains(&name), "{name} in {stun:?}");
    }
    let by_name = stun.iter().position(|name| *name == "stun-port");
    let by_text = stun.iter().position(|name| !name.contains("stun"));
    assert!(by_text.is_none_or(|by_text| by_name < Some(by_text)), "{stun:?}");
}

#[test]
fn every_word_must_be_found_and_a_number_is_a_port() {
    assert_eq!(names("cisco serial tunnel"), ["stun-port"]);
    assert_eq!(names("CISCO stun priority 1992"), ["stun-p3"]);
    assert!(names("6003").contains(&"x11"));
    assert_eq!(names("window x"), names("x window"));
}

#[test]
fn slips_are_forgiven_where_nothing_is_found_without() {
    assert_eq!(names("stunp3")[0], "stun-p3");
    assert_eq!(names("postgersql")[0], "postgresql");
    assert!(names("prometeus").contains(&"websm") || !names("tunnle cisco").is_empty());
    assert_eq!(names("postgers")[0], "postgresql");
    for typed in ["rdis", "RDIS"] {
        assert_eq!(names(typed)[0], "redis", "{typed}");
    }
    // A word that is there is never taken for another.
    assert!(!names("ssh").contains(&"rsh-spx"));
}

#[test]
fn what_is_nowhere_is_not_found_and_each_word_says_how_often_it_is() {
    let nothing = found("cisco xyzzyqwerty");
    assert!(nothing.hits.is_empty());
    assert!(nothing.words[0] > 10 && nothing.words[1] == 0);
    assert!(found("").hits.is_empty());
    for odd in ["*", "%s", "a\u{301}", "\u{1b}[31m", "zz", &"x".repeat(1000)] {
        let _ = found(odd);
    }
}
