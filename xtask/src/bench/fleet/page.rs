//! A real scrape, as many hosts serve it.

use std::fmt::Write as _;

/// What moves from scrape to scrape on a host where something happens. All else of a quiet host stays as it is.
const MOVING: [&str; 3] = [
    "portreeve_events_total{",
    "portreeve_hook_runs_total{",
    "portreeve_last_snapshot_timestamp_seconds ",
];

/// The lines of a scrape, in order.
#[derive(Debug)]
pub(super) struct Page {
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Fixed(String),
    /// A name with its labels, and the value that it begins at.
    Moving(String, f64),
}

impl Page {
    /// Reads a scrape of an agent whose listeners are all on loopback, since a measurement exposes nothing. Of a fleet some are
    /// exposed, and the dashboard asks for these: so every other one is said to be.
    pub(super) fn new(scraped: &str) -> Self {
        let mut on_loopback = 0_u32;
        let lines = scraped.lines().map(|line| {
            if line.starts_with("portreeve_listeners{") && line.contains("scope=\"loopback\"") {
                on_loopback += 1;
                if on_loopback.is_multiple_of(2) {
                    return Line::Fixed(line.replace("scope=\"loopback\"", "scope=\"wildcard\""));
                }
            }
            let moves = MOVING.iter().any(|name| line.starts_with(name));
            let series = line.rsplit_once(' ').filter(|_| moves);
            match series.and_then(|(series, value)| Some((series, value.parse().ok()?))) {
                Some((series, value)) => Line::Moving(series.to_owned(), value),
                None => Line::Fixed(line.to_owned()),
            }
        });
        Self { lines: lines.collect() }
    }

    /// How many series it has.
    pub(super) fn series(&self) -> usize {
        let is_series = |line: &&Line| !matches!(line, Line::Fixed(text) if text.starts_with('#') || text.is_empty());
        self.lines.iter().filter(is_series).count()
    }

    /// The page some seconds after it was taken.
    pub(super) fn after(&self, seconds: u64) -> String {
        let mut page = String::new();
        for line in &self.lines {
            // Writing into a string does not fail.
            let _ = match line {
                Line::Fixed(text) => writeln!(page, "{text}"),
                Line::Moving(series, value) => writeln!(page, "{series} {}", value + seconds as f64),
            };
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    const SCRAPED: &str = "# HELP portreeve_events_total Events.\nportreeve_events_total{event=\"bind\"} 3\n\
                           portreeve_expectations 0\nportreeve_listeners{port=\"1\",scope=\"loopback\"} 1\n\
                           portreeve_listeners{port=\"2\",scope=\"loopback\"} 1\n";

    #[test]
    fn counters_of_what_happens_move_and_all_else_stays() {
        let page = Page::new(SCRAPED);
        assert_eq!(page.series(), 4);
        let later = page.after(7);
        assert!(later.contains("portreeve_events_total{event=\"bind\"} 10\n"), "{later}");
        assert!(later.contains("portreeve_expectations 0\n"));
        assert!(later.starts_with("# HELP portreeve_events_total Events.\n"));
    }

    #[test]
    fn every_other_listener_is_said_to_be_exposed() {
        let page = Page::new(SCRAPED).after(0);
        assert!(page.contains("{port=\"1\",scope=\"loopback\"} 1\n"), "{page}");
        assert!(page.contains("{port=\"2\",scope=\"wildcard\"} 1\n"), "{page}");
    }
}
