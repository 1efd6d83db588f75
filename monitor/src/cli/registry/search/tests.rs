use super::*;
use crate::cli::documented;

fn args(words: &[&str], json: bool, limit: usize) -> Args {
    Args {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        json,
        limit,
        places: Places {
            config_file: Vec::new(),
            rootfs: "/".into(),
        },
    }
}

fn page(words: &[&str], limit: usize) -> String {
    answer(Registry::embedded(), &args(words, false, limit), Page::of_width(80)).unwrap()
}

#[test]
fn ports_names_and_descriptions_stand_in_columns_of_80() {
    let text = page(&["cisco", "stun"], 20);
    assert_eq!(
        text,
        "  1990/tcp,udp  stun-p1    cisco STUN Priority 1 port\n  \
         1991/tcp,udp  stun-p2    cisco STUN Priority 2 port\n  \
         1992/tcp,udp  stun-p3    cisco STUN Priority 3 port\n  \
         1994/tcp,udp  stun-port  cisco serial tunnel port\n"
    );
    assert_eq!(text, page(&["cisco  stun"], 20));
    for words in ["a", "protocol", "http", "stun"] {
        let text = page(&[words], usize::MAX);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{words}");
    }
}

#[test]
fn what_a_limit_leaves_out_is_said() {
    assert!(page(&["protocol"], 2).contains("\n\n2 of "));
    let none = page(&["stun"], 0);
    assert!(none.starts_with("0 of "), "{none}");
}

#[test]
fn where_nothing_is_found_it_says_why_and_names_the_nearest() {
    assert_eq!(
        page(&["xyzzyqwerty"], 20),
        "Nothing found: no registration has `xyzzyqwerty` in its name or description, and\nno name is near.\n"
    );
    let apart = page(&["stun-p3", "mainframe"], 20);
    assert!(
        apart.contains("`stun-p3` alone is in 1") || apart.contains("`mainframe`"),
        "{apart}"
    );
    let hostile = page(&["\u{1b}[31mred\u{202e}"], 20);
    assert!(hostile.contains("\\u{1b}[31mred\\u{202e}"), "{hostile}");
    assert!(page(&[&"x".repeat(100_000)], 20).len() < 200);
    let blank = answer(Registry::embedded(), &args(&[" "], false, 1), Page::of_width(80)).unwrap_err();
    assert_eq!(crate::exit::code_of(&blank), crate::exit::USAGE);
}

#[test]
fn the_document_has_the_same_with_the_status_of_each() {
    let text = answer(Registry::embedded(), &args(&["stunp3"], true, 1), Page::of_width(80)).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["registrations"][0]["service"], "stun-p3");
    assert_eq!(document["registrations"][0]["status"], "dormant");
    assert_eq!(
        document["registrations"][0]["transports"],
        serde_json::json!(["tcp", "udp"])
    );
    assert_eq!(document["registrations"].as_array().unwrap().len(), 1);
    assert_eq!(document["nearest"], serde_json::Value::Null);
}

#[test]
fn the_documentation_has_every_key_of_the_document() {
    let text = answer(Registry::embedded(), &args(&["1992"], true, 1), Page::of_width(80)).unwrap();
    documented::check("registry search --json", &text, &[]);
}
