//! Pages as a browser gets them.

use std::collections::BTreeMap;

use super::story;
use crate::{
    identity::Clock,
    output::{Origin, Report, events::Lines, http::tests::Server, recent::Recent, samples},
};

#[test]
fn the_page_has_what_listens_and_what_is_unexpected_on_top() {
    let server = Server::start(|_| ());
    let page = server.get("/");
    assert_eq!(page.status, 200, "{page:?}");
    let text = &page.body;
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is not in {text}"));
    assert!(at("1 unexpected") < at("<table"));
    assert!(at("href=\"ports/1992\"") < at("href=\"ports/22\""));
    assert!(text.contains("stun-p3, ipsendmsg") && text.contains("dormant-port"));
    assert!(text.contains("aria-sort=\"ascending\"") && text.contains("2 sockets"));
}

#[test]
fn the_page_is_sorted_and_filtered_by_its_query() {
    let server = Server::start(|_| ());
    let sorted = server.get("/?sort=port").body;
    let table = &sorted[sorted.find("<tbody").unwrap()..];
    assert!(table.find("ports/22\"").unwrap() < table.find("ports/1992\"").unwrap());
    let filtered = server.get("/?text=stun").body;
    let table = &filtered[filtered.find("<tbody").unwrap()..];
    assert!(table.contains("ports/1992\"") && !table.contains("ports/22\""));
    assert!(filtered.contains("value=\"stun\"") && filtered.contains("1 of 2 sockets"));
    assert_eq!(server.get("/?verdict=good").status, 400);
    let moved = server.get("/?port=1992");
    assert_eq!((moved.status, moved.header("location")), (303, Some("ports/1992")));
}

#[test]
fn a_port_has_a_page_with_all_that_is_known_of_it() {
    let server = Server::start(|_| ());
    let page = server.get("/ports/1992").body;
    for part in [
        "This entry records an unassigned but widespread use",
        "tcp, udp",
        "/usr/bin/python3.11",
        "python3 -m http.server 1992",
        "systemd <span class=\"quiet\">1</span></li><li>bash",
        "this agent keeps no history",
        "[[expect]]",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert_eq!(server.get("/ports/0").status, 400);
    assert!(server.get("/ports/9").body.contains("Nothing listens here."));
}

#[test]
fn nothing_is_loaded_from_elsewhere_or_stands_inline() {
    let server = Server::start(|_| ());
    for path in ["/", "/ports/1992"] {
        let page = server.get(path);
        let policy = page.header("content-security-policy").unwrap();
        assert!(!policy.contains("unsafe") && policy.contains("default-src 'self'"));
        let text = &page.body;
        assert!(!text.contains("style=") && !text.contains("<style") && !text.contains("onclick"));
        for attribute in ["src=\"", "href=\""] {
            for link in text
                .split(attribute)
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap())
            {
                // Relative, so that they hold below any path.
                assert!(!link.starts_with('/') && !link.contains("://"), "{link} in {path}");
            }
        }
        for name in ["page.css", "page.js", "icon.svg"] {
            let link = format!("assets/{name}?");
            assert!(text.contains(&link), "{link} in {path}");
            let file = server.get(&format!("/assets/{name}"));
            assert_eq!(file.status, 200);
            assert!(file.header("cache-control").unwrap().contains("immutable"));
        }
    }
    assert_eq!(server.get("/assets/page.rs").status, 404);
}

#[test]
fn events_are_told_in_a_few_words_the_newest_first() {
    let (recent, mut lines, clock) = (
        Recent::new("run".to_owned()),
        Lines::new("web-7".to_owned(), "run".to_owned()),
        Clock::read(),
    );
    let now = samples::moment(clock, 0);
    let event = samples::listen();
    let (report, alert) = (samples::report(&event), samples::alert(now));
    let found = Report {
        origin: Origin::Existing,
        ..report.clone()
    };
    let end = samples::end_of(&event);
    for text in [
        lines.socket(&event, &found, clock),
        lines.socket(&event, &report, clock),
        lines.alert(&alert, clock),
        lines.socket(&end, &report, clock),
        lines.alert_resolved(&alert, now, clock),
        lines.lost("ring", 3, now, clock),
        lines.drift("missed", 1, now, clock),
    ] {
        recent.put(recent.last() + 1, move || text);
    }
    let told = |port| {
        let stories = story::newest(&recent, port).into_iter();
        stories
            .map(|story| format!("{} {}: {}", story.tone, story.what, story.text))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(None),
        [
            "trouble drift: 1 found that no event had told of",
            "trouble lost: 3 lost at ring",
            " over: dormant-port (critical) by python3.11",
            " closed: python3.11 (root) on 0.0.0.0",
            "alarm alert: dormant-port (critical) by python3.11",
            "alarm listen: python3.11 (root) on 0.0.0.0",
            "alarm found: python3.11 (root) on 0.0.0.0",
        ]
    );
    assert_eq!(told(Some(1992)).len(), 5);
    assert!(told(Some(22)).is_empty());
}

/// The colours of a block of page.css, by name.
fn colours(block: &str) -> BTreeMap<&str, [f64; 3]> {
    let named = block.lines().filter_map(|line| {
        let (name, value) = line.trim().strip_prefix("--")?.split_once(": #")?;
        let value = u32::from_str_radix(value.trim_end_matches(';'), 16).ok()?;
        Some((name, [16, 8, 0].map(|shift| f64::from(value >> shift & 0xff) / 255.0)))
    });
    named.collect()
}

/// The relative luminance of WCAG 2.2 (<https://www.w3.org/TR/WCAG22/#dfn-relative-luminance>).
fn luminance(colour: [f64; 3]) -> f64 {
    let [red, green, blue] = colour.map(|part| {
        if part <= 0.04045 {
            part / 12.92
        } else {
            ((part + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[test]
fn every_text_has_a_contrast_of_four_and_a_half_in_light_and_in_dark() {
    let css = include_str!("page.css");
    let mut blocks = css
        .split(":root {")
        .skip(1)
        .map(|rest| colours(rest.split('}').next().unwrap()));
    let light = blocks.next().unwrap();
    let mut dark = light.clone();
    dark.extend(blocks.next().unwrap());
    for (scheme, colours) in [("light", light), ("dark", dark)] {
        for (text, grounds) in [
            ("text", &["ground", "panel", "faint", "alarm-ground", "fresh"][..]),
            ("quiet", &["ground", "panel", "faint", "alarm-ground", "fresh"]),
            ("link", &["ground", "panel", "faint", "alarm-ground", "fresh"]),
            ("alarm", &["panel", "alarm-ground"]),
            ("trouble", &["panel", "faint", "alarm-ground", "trouble-ground"]),
            ("calm", &["ground", "panel", "faint"]),
            ("bar-text", &["bar"]),
            ("bar-quiet", &["bar"]),
            ("badge-text", &["alarm-badge"]),
        ] {
            for ground in grounds {
                let [one, other] = [colours[text], colours[ground]].map(luminance);
                let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                assert!(contrast >= 4.5, "{scheme}: {text} on {ground} has {contrast:.2}");
            }
        }
    }
}
