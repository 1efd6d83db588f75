//! `[[rule]]` and `[[expect]]`, as they are written and as they are meant.

use std::{collections::BTreeMap, time::Duration};

use super::{
    document::{Table, any},
    duration,
    selectors::{Of, selector},
    wrong::Noted,
};
use crate::{
    event::Protocol,
    exit::{Place, Problem},
    policy::{
        Automatic, Expect, KEEP_FIRING_FOR, On, RESERVED_LABELS, Reach, Rule, Selector, Severity, Template, UNEXPECTED,
        WATCHED, hiding, says_the_same,
    },
    registry::Registry,
};

/// Letters of a name at most.
const NAME_MAX: usize = 64;

/// `for` and `keep_firing_for` at most: 365 days.
const TIME_MAX: Duration = Duration::from_secs(365 * 86_400);

/// A rule or an expectation, and where it stands.
#[derive(Clone, Debug)]
struct Placed<T> {
    place: Place,
    /// Its name; empty where that is wrong.
    name: String,
    /// What is wrong with it but for its selector has its default here.
    value: T,
    /// Whether nothing was wrong with it.
    is_sound: bool,
}

/// The rules and expectations of all files, with their places.
#[derive(Default)]
pub(super) struct All {
    rules: Vec<Placed<Rule>>,
    expects: Vec<Placed<Expect>>,
    /// The names that are taken, also by those whose selector is wrong.
    rule_names: Vec<(String, Place)>,
    expect_names: Vec<(String, Place)>,
}

impl All {
    /// The rules and expectations, in the order of the files.
    pub(super) fn into_parts(self) -> (Vec<Rule>, Vec<Expect>) {
        let rules = self.rules.into_iter().map(|rule| rule.value).collect();
        let expects = self.expects.into_iter().map(|expect| expect.value).collect();
        (rules, expects)
    }

    /// Takes one more `[[rule]]`.
    pub(super) fn add_rule(&mut self, mut table: Table<'_>, registry: &Registry) {
        let before = table.wrong_so_far();
        let name = table.need("name", rule_name);
        taken(&mut self.rule_names, name.as_ref().ok(), "a rule", &table);
        let name = name.unwrap_or_default();
        let owner = owner("rule", &name);
        let selector = selector(&mut table, Of::Rule, &owner, registry);
        let on = table.list("on", any::<On>);
        let severity = table.need("severity", any::<Severity>);
        let automatic_severity = table.take("automatic_severity", any::<Severity>);
        let for_ = table.take("for", time);
        let keep = table.take("keep_firing_for", time);
        let summary = template(&mut table, "summary");
        let description = template(&mut table, "description");
        let runbook = table.take("runbook_url", runbook);
        let labels = labels(&mut table);
        let is_whole = table.end();
        let for_ = for_.map(Option::unwrap_or_default);
        if let (Ok(on), Ok(for_)) = (&on, for_)
            && !for_.is_zero()
            && on.as_ref().is_some_and(|on| !on.contains(&On::Listen))
        {
            let text =
                "`for` is about what lasts, and a rule that is not on listen has nothing that does; leave it out";
            table.note_at("for", text);
        }
        // A key that is misspelt may be one of the selector's.
        let (Ok(selector), Ok(on), true) = (selector, on, is_whole) else {
            return;
        };
        let on = on.unwrap_or_else(|| vec![On::Listen]);
        if let Some(problem) = never(&name, &owner, &selector, &on) {
            table.note(problem);
        }
        for (key, problem) in impossible(&owner, &selector, &on) {
            table.note_at(key, problem);
        }
        if let (Ok(Some(_)), Some(problem)) = (automatic_severity, useless(selector.automatic, &on)) {
            table.note_at("automatic_severity", problem);
        }
        let rule = Rule {
            name: name.clone(),
            selector,
            on,
            severity: severity.unwrap_or(Severity::Critical),
            automatic_severity: or_default(automatic_severity),
            for_: for_.unwrap_or_default(),
            keep_firing_for: or_default(keep).unwrap_or(KEEP_FIRING_FOR),
            summary: or_default(summary),
            description: or_default(description),
            runbook: or_default(runbook),
            labels: or_default(labels),
        };
        let is_sound = table.wrong_so_far() == before;
        let same = |other: &&Placed<Rule>| is_sound && other.is_sound && other.value.says_the_same(&rule);
        if let Some(other) = self.rules.iter().find(same) {
            table.note(format!(
                "but for its name this is the rule `{}` ({}); leave one of them out",
                other.name, other.place
            ));
        }
        self.rules.push(Placed {
            place: table.place(),
            name,
            value: rule,
            is_sound,
        });
    }

    /// Takes one more `[[expect]]`.
    pub(super) fn add_expect(&mut self, mut table: Table<'_>, registry: &Registry) {
        let before = table.wrong_so_far();
        let name = table.take("name", expect_name);
        taken(
            &mut self.expect_names,
            name.as_ref().ok().and_then(Option::as_ref),
            "an expectation",
            &table,
        );
        let selector = selector(&mut table, Of::Expectation, "this expectation", registry);
        let is_whole = table.end();
        let (Ok(selector), true) = (selector, is_whole) else {
            return;
        };
        if selector.ports.is_empty() && !selector.narrows() {
            let text =
                "this expectation takes every listener; name ports, exe, user, unit, container, scope or namespace";
            table.note(text);
            return;
        }
        let same = |other: &&Placed<Expect>| says_the_same(&other.value.selector, &selector);
        if let Some(other) = self.expects.iter().find(same) {
            table.note(format!(
                "this is the expectation `{}` ({}) again; leave one of them out",
                other.name, other.place
            ));
        }
        let name = or_default(name).unwrap_or_else(|| {
            let free = self.free_name(&selector);
            self.expect_names.push((free.clone(), table.place()));
            free
        });
        self.expects.push(Placed {
            place: table.place(),
            name: name.clone(),
            value: Expect { name, selector },
            is_sound: table.wrong_so_far() == before,
        });
    }

    /// A name that no other expectation has.
    fn free_name(&self, selector: &Selector) -> String {
        let name = Expect::name_of(selector);
        let is_taken = |name: &str| self.expect_names.iter().any(|(other, _)| other == name);
        let mut number = 1;
        let mut free = name.clone();
        while is_taken(&free) {
            number += 1;
            free = format!("{name}-{number}");
        }
        free
    }

    /// What is wrong with rules that expectations hide whole, one alone or some together: nobody would ever hear of them.
    pub(super) fn hidden(&self) -> Vec<Problem> {
        let mut wrong = Vec::new();
        let of_files = self.rules.iter().map(|rule| (&rule.value, Some(&rule.place)));
        let built_in = Rule::dormant_port();
        let is_replaced = self.rule_names.iter().any(|(name, _)| *name == built_in.name);
        let built_in = (!is_replaced).then_some((&built_in, None));
        for (rule, place) in of_files.chain(built_in) {
            let spoken_of = |on: &On| matches!(on, On::Listen | On::Bind | On::BindFailed);
            // The rule on what is unexpected takes what is left.
            if rule.name == UNEXPECTED || !rule.on.iter().all(spoken_of) {
                continue;
            }
            let about = match place {
                Some(place) => format!("{} ({place})", owner("rule", &rule.name)),
                None => format!("the built-in rule `{}`", rule.name),
            };
            let selectors: Vec<_> = self.expects.iter().map(|expect| &expect.value.selector).collect();
            for group in hiding(&rule.selector, &selectors) {
                let group: Vec<_> = group.into_iter().filter_map(|index| self.expects.get(index)).collect();
                wrong.extend(of_group(&group, &about, place.is_none()));
            }
        }
        wrong
    }
}

/// What is wrong where these expectations take all that a rule is about: said of the last one, since without it they would not.
fn of_group(group: &[&Placed<Expect>], about: &str, is_built_in: bool) -> Option<Problem> {
    let (last, others) = group.split_last()?;
    let who = match others {
        [] => format!("the expectation `{}` takes", last.name),
        [other] => format!(
            "the expectations `{}` ({}) and `{}` together take",
            other.name, other.place, last.name
        ),
        [first, rest @ ..] => format!(
            "the expectations `{}` ({}), {} more and `{}` together take",
            first.name,
            first.place,
            rest.len(),
            last.name
        ),
    };
    let narrow = if others.is_empty() {
        "the expectation"
    } else {
        "one of them"
    };
    let way_out = if is_built_in {
        "write a rule of that name"
    } else {
        "leave out the rule"
    };
    Some(Problem {
        place: Some(last.place.clone()),
        sentence: format!(
            "{who} all that {about} is about, so that it can never fire; narrow {narrow} (exe, user, unit), or {way_out}"
        ),
    })
}

/// `the rule `x``, if it has a name.
fn owner(what: &str, name: &str) -> String {
    if name.is_empty() {
        format!("this {what}")
    } else {
        format!("the {what} `{name}`")
    }
}

/// Adds a name, which nobody else may have.
fn taken(names: &mut Vec<(String, Place)>, name: Option<&String>, what: &str, table: &Table<'_>) {
    let Some(name) = name else { return };
    match names.iter().find(|(other, _)| other == name) {
        Some((_, place)) => {
            table.note_at("name", format!("there is {what} `{name}` already ({place})"));
        }
        None => names.push((name.clone(), table.place())),
    }
}

/// What was read, or its default where it is wrong: the configuration as a whole is refused then.
fn or_default<T: Default>(read: Result<T, Noted>) -> T {
    read.unwrap_or_default()
}

fn rule_name(name: String) -> Result<String, String> {
    let lower = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(lower) {
        return Err(format!(
            "`{}` is no name for a rule: use a-z, 0-9 and -, like dormant-port",
            name.escape_debug()
        ));
    }
    if name == WATCHED {
        return Err(format!(
            "`{WATCHED}` is the rule of --watch and [watch]; choose another name"
        ));
    }
    Ok(name)
}

fn expect_name(name: String) -> Result<String, String> {
    let usual = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(usual) {
        return Err(format!(
            "`{}` is no name for an expectation: use letters, digits and - _ . @, like sshd",
            name.escape_debug()
        ));
    }
    Ok(name)
}

/// Why a rule can never match.
fn never(name: &str, owner: &str, selector: &Selector, on: &[On]) -> Option<String> {
    let begin = format!("{owner} can never match");
    if on.is_empty() {
        return Some(format!("{begin}: `on` is empty; leave it out for listen"));
    }
    if name == UNEXPECTED {
        let listens = on.contains(&On::Listen);
        return (!listens).then(|| format!("{begin}: it is about listeners; leave out `on`"));
    }
    if selector.ports.is_empty() && !selector.narrows() {
        return Some(format!(
            "{owner} names neither ports nor a status, nor anything else that tells one listener from another"
        ));
    }
    if !selector.names_ports && on.iter().any(|on| *on != On::Listen) {
        return Some(format!(
            "{begin} but listens: binds, connects and accepts are reported of named ports alone; give it `ports`"
        ));
    }
    if !selector.takes_some_of(Protocol::Tcp) && on.iter().all(|on| matches!(on, On::Bind | On::Accept)) {
        return Some(format!(
            "{begin}: UDP accepts nothing, and what it binds is a listener; write on = [\"listen\"]"
        ));
    }
    None
}

/// What the events of a word of `on` can never be, with the key that asks for it. Such a word does nothing, and whoever wrote it
/// waits in vain.
fn impossible(owner: &str, selector: &Selector, on: &[On]) -> Vec<(&'static str, String)> {
    let without = |can_be: fn(On) -> bool| {
        let words = on.iter().filter(|on| !can_be(**on)).map(|on| on.as_str());
        words.collect::<Vec<_>>().join(" and ")
    };
    let mut found = Vec::new();
    let words = without(On::can_be_wildcard);
    if selector.scope == Reach::Wildcard && !words.is_empty() {
        found.push((
            "scope",
            format!(
                "{owner} can never match on {words}: nobody connects to the wildcard address, but to loopback or to one address; \
                 leave out `scope`, or {words}"
            ),
        ));
    }
    let words = without(On::can_be_automatic);
    if selector.automatic == Automatic::Only(true) && !words.is_empty() {
        found.push((
            "automatic",
            format!(
                "{owner} can never match on {words}: only of listens and binds is it known that the kernel chose the port; leave \
                 out `automatic`, or {words}"
            ),
        ));
    }
    found
}

/// Why one of the two severities of a rule is never that of an alert.
fn useless(automatic: Automatic, on: &[On]) -> Option<&'static str> {
    match automatic {
        Automatic::Only(false) => {
            Some("automatic_severity is of no use beside automatic = false; leave one of them out")
        }
        Automatic::Only(true) => Some(
            "beside automatic = true this is the only severity, and `severity` is of no use; write it there, and leave \
             automatic_severity out",
        ),
        Automatic::Any if !on.is_empty() && !on.iter().any(|on| on.can_be_automatic()) => Some(
            "automatic_severity is of no use where a rule is on no listen and no bind: of nothing else is it known that the \
             kernel chose the port; leave it out",
        ),
        Automatic::Any => None,
    }
}

/// A text with places, of which each that is not understood is noted.
fn template(table: &mut Table<'_>, key: &'static str) -> Result<Option<Template>, Noted> {
    let Some(text) = table.take(key, any::<String>)? else {
        return Ok(None);
    };
    let read = Template::parse(&text).map(Some);
    read.map_err(|mistakes| table.note_each_at(key, mistakes))
}

fn time(text: String) -> Result<Duration, String> {
    let time = duration::parse(&text)
        .ok_or_else(|| format!("`{}` is no duration; write 15m, 90s or 1h30m", text.escape_debug()))?;
    if time > TIME_MAX {
        return Err(format!("`{text}` is too long; write a duration up to 365d, like 15m"));
    }
    Ok(time)
}

fn runbook(text: String) -> Result<String, String> {
    let parsed: Option<hyper::Uri> = text.parse().ok();
    let is_url = parsed.is_some_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    if is_url {
        return Ok(text);
    }
    Err(format!(
        "`{}` is no URL; write one that begins with https:// or http://",
        text.escape_debug()
    ))
}

/// Labels as Prometheus takes them. Names that begin with two underscores are its own.
pub(super) fn labels(table: &mut Table<'_>) -> Result<BTreeMap<String, String>, Noted> {
    let name_is_right = |name: &str| {
        let is_name = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && !name.starts_with("__");
        if !is_name {
            return Err(format!(
                "`{}` is no name for a label: use a-z, A-Z, 0-9 and _, like team",
                name.escape_debug()
            ));
        }
        if RESERVED_LABELS.contains(&name) {
            return Err(format!(
                "each alert has the label `{name}` already; choose another name"
            ));
        }
        Ok(())
    };
    let labels = table.texts("labels", name_is_right, |name, value| {
        if value.contains(char::is_control) {
            let name = name.escape_debug();
            return Err(format!("the value of the label `{name}` has control characters in it"));
        }
        Ok(value)
    })?;
    Ok(labels.into_iter().collect())
}
