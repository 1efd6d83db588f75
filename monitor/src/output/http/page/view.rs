//! Which part of the table is asked for, and the links to the other parts.

use form_urlencoded::Serializer;

/// Sockets on one page of the table.
pub(super) const ROWS: usize = 100;

/// The order of the table where nobody asks for another: what is unexpected stands on top.
const USUAL: &str = "verdict";

/// The columns: what the API calls their order, and what people read.
const COLUMNS: [(&str, &str); 9] = [
    ("port", "Port"),
    ("protocol", "Protocol"),
    ("registration", "Registration"),
    ("process", "Process"),
    ("user", "User"),
    ("unit", "Unit or container"),
    ("scope", "Scope"),
    ("since", "Since"),
    ("verdict", "Verdict"),
];

const VERDICTS: [&str; 3] = ["unexpected", "unruled", "expected"];
const SCOPES: [&str; 3] = ["wildcard", "address", "loopback"];
const PROTOCOLS: [&str; 2] = ["tcp", "udp"];

/// The query of the page: that of the API's listeners, with another order where none is given.
pub(super) struct View {
    pub(super) text: String,
    verdict: String,
    scope: String,
    protocol: String,
    sort: String,
    offset: usize,
    /// Filters that the form has no field for.
    pub(super) others: Vec<(String, String)>,
}

/// The head of a column.
pub(super) struct Column {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    /// `ascending` or `descending`; `None` where the order is another one.
    pub(super) sorted: Option<&'static str>,
    pub(super) link: String,
}

impl Column {
    /// The order, as a sign.
    pub(super) fn arrow(&self) -> &'static str {
        match self.sorted {
            Some("ascending") => "▲",
            Some(_) => "▼",
            None => "",
        }
    }
}

/// A choice in a field of the form.
pub(super) struct Choice {
    pub(super) value: &'static str,
    pub(super) title: &'static str,
    pub(super) is_chosen: bool,
}

impl View {
    pub(super) fn parse(query: &str) -> Self {
        let mut view = Self {
            text: String::new(),
            verdict: String::new(),
            scope: String::new(),
            protocol: String::new(),
            sort: String::new(),
            offset: 0,
            others: Vec::new(),
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() {
                continue;
            }
            let field = match &*name {
                "text" => &mut view.text,
                "verdict" => &mut view.verdict,
                "scope" => &mut view.scope,
                "protocol" => &mut view.protocol,
                "sort" => &mut view.sort,
                "offset" if value.parse().is_ok_and(|offset: usize| offset > 0) => {
                    view.offset = value.parse().unwrap_or(0);
                    continue;
                }
                "offset" | "limit" => continue,
                _ => {
                    view.others.push((name.into_owned(), value.into_owned()));
                    continue;
                }
            };
            // What is given twice adds up.
            if !field.is_empty() {
                field.push(if name == "text" { ' ' } else { ',' });
            }
            field.push_str(&value);
        }
        view
    }

    /// The port that is asked for, where nothing else is: alerts of older agents link to it so.
    pub(super) fn port_alone(&self) -> Option<u16> {
        match self.others.as_slice() {
            [(name, value)] if name == "port" && self.fields().next().is_none() => value.parse().ok(),
            _ => None,
        }
    }

    /// What the API is asked.
    pub(super) fn api(&self) -> String {
        let sort = if self.sort.is_empty() { USUAL } else { &self.sort };
        let mut query = self.filters();
        query.append_pair("sort", sort);
        query.append_pair("offset", &self.offset.to_string());
        query.append_pair("limit", &ROWS.to_string());
        query.finish()
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        let now = if self.sort.is_empty() { USUAL } else { &self.sort };
        let column = |(key, title): (&'static str, &'static str)| {
            let sorted = match now.strip_prefix('-') {
                Some(reversed) if reversed == key => Some("descending"),
                None if now == key => Some("ascending"),
                _ => None,
            };
            // The newest is what people look for in a column of times.
            let reversed = match sorted {
                Some(way) => way == "ascending",
                None => key == "since",
            };
            let sort = if reversed { format!("-{key}") } else { key.to_owned() };
            Column {
                key,
                title,
                sorted,
                link: self.link(&sort, 0),
            }
        };
        COLUMNS.map(column).into()
    }

    /// The orders as choices, for where the heads of the columns are not shown.
    pub(super) fn orders(&self) -> Vec<Choice> {
        let now = if self.sort.is_empty() { USUAL } else { &self.sort };
        let choice = |(key, title)| {
            let (value, title) = if key == "since" {
                ("-since", "Newest first")
            } else {
                (key, title)
            };
            Choice {
                value,
                title,
                is_chosen: value == now,
            }
        };
        COLUMNS.map(choice).into()
    }

    pub(super) fn verdicts(&self) -> Vec<Choice> {
        choices(&VERDICTS, &self.verdict)
    }

    pub(super) fn scopes(&self) -> Vec<Choice> {
        choices(&SCOPES, &self.scope)
    }

    pub(super) fn protocols(&self) -> Vec<Choice> {
        choices(&PROTOCOLS, &self.protocol)
    }

    /// Whether anything is left out.
    pub(super) fn is_filtered(&self) -> bool {
        !self.others.is_empty() || self.fields().next().is_some()
    }

    /// Goes to the last part of so many.
    pub(super) fn go_to_last(&mut self, matched: usize) {
        self.offset = matched.saturating_sub(1) / ROWS * ROWS;
    }

    /// The part before this one.
    pub(super) fn before(&self) -> Option<String> {
        let offset = self.offset.saturating_sub(ROWS);
        (self.offset > 0).then(|| self.link(&self.sort, offset))
    }

    /// The part behind this one.
    pub(super) fn behind(&self, matched: usize) -> Option<String> {
        let offset = self.offset + ROWS;
        (offset < matched).then(|| self.link(&self.sort, offset))
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        [
            ("text", &self.text),
            ("verdict", &self.verdict),
            ("scope", &self.scope),
            ("protocol", &self.protocol),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, value.as_str()))
    }

    fn filters(&self) -> Serializer<'static, String> {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(self.fields());
        query.extend_pairs(&self.others);
        query
    }

    /// Relative, so that it holds behind a proxy that has put the page below a path.
    fn link(&self, sort: &str, offset: usize) -> String {
        let mut query = self.filters();
        if !sort.is_empty() && sort != USUAL {
            query.append_pair("sort", sort);
        }
        if offset > 0 {
            query.append_pair("offset", &offset.to_string());
        }
        let query = query.finish();
        if query.is_empty() {
            "./".to_owned()
        } else {
            format!("./?{query}")
        }
    }
}

fn choices(known: &[&'static str], now: &str) -> Vec<Choice> {
    let choice = |value: &&'static str| Choice {
        value,
        title: value,
        is_chosen: *value == now,
    };
    known.iter().map(choice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unexpected_comes_first_unless_somebody_asks_otherwise() {
        assert_eq!(View::parse("").api(), "sort=verdict&offset=0&limit=100");
        for (matched, offset) in [(1, 0), (100, 0), (101, 100), (366, 300)] {
            let mut beyond = View::parse("offset=99999");
            beyond.go_to_last(matched);
            assert_eq!(beyond.api(), format!("sort=verdict&offset={offset}&limit=100"));
        }
        assert_eq!(
            View::parse("text=a+b&sort=-port&offset=100&limit=9&netns=other").api(),
            "text=a+b&netns=other&sort=-port&offset=100&limit=100"
        );
    }

    #[test]
    fn links_keep_what_is_asked_for_and_go_back_to_the_first_page() {
        let view = View::parse("verdict=unruled&netns=other&sort=port&offset=100");
        let columns = view.columns();
        assert_eq!(columns[0].link, "./?verdict=unruled&netns=other&sort=-port");
        assert_eq!(columns[0].sorted, Some("ascending"));
        assert_eq!(columns[7].link, "./?verdict=unruled&netns=other&sort=-since");
        assert_eq!(columns[8].link, "./?verdict=unruled&netns=other");
        assert_eq!(view.before().unwrap(), "./?verdict=unruled&netns=other&sort=port");
        assert_eq!(
            view.behind(201).unwrap(),
            "./?verdict=unruled&netns=other&sort=port&offset=200"
        );
        assert_eq!(view.behind(200), None);
        assert_eq!(View::parse("").columns()[8].link, "./?sort=-verdict");
        assert_eq!(View::parse("sort=-verdict").columns()[8].link, "./");
    }

    #[test]
    fn a_port_alone_is_its_own_page() {
        assert_eq!(View::parse("port=1992").port_alone(), Some(1992));
        for query in ["port=1992&text=nc", "port=1990-1994", "port=ssh", "text=1992", ""] {
            assert_eq!(View::parse(query).port_alone(), None, "{query}");
        }
    }
}
