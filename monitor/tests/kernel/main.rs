//! The agent as a whole, on a real kernel: the built binary is started, driven with real listeners, and judged by what
//! it prints and serves. The same test binary runs on the machine's own kernel and inside guests.
//!
//! Environment: `PORTREEVE_BIN` (the agent; cargo's own otherwise), `PORTREEVE_BUSYBOX` (a static busybox),
//! `PORTREEVE_SCENARIOS` (the program that plays situations; without it none is played),
//! `PORTREEVE_REQUIRE_BACKENDS` (comma-separated: backends without which this run has failed),
//! `PORTREEVE_GUEST_WITHOUT` (`inet_diag` in a guest without it), `PROMTOOL` (Prometheus's own checker),
//! `PORTREEVE_ALERTMANAGER` and `PORTREEVE_PROMETHEUS` (folders with these unpacked). A browser is taken from `PATH`.
//!
//! A test that cannot run here prints `not run: NAME: REASON` and is listed as ignored.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value indexed by a name that it does not have is null"
)]

mod agent;
mod browser;
mod capabilities;
mod command_line;
mod confinement;
mod demo;
mod deployed_dashboards;
mod deployed_route;
mod deployed_rules;
mod fallbacks;
mod history;
mod http;
mod journal;
mod kernel_fields;
mod listeners;
mod losses;
mod outages;
mod page;
mod page_elsewhere;
mod programs;
mod prometheus_server;
mod receivers;
mod refusals;
mod reload;
mod rules;
mod scenarios;
#[path = "../../src/output/schema.rs"]
mod schema;
mod scrape;
mod snapshot;
mod supervised;
mod test_alert;
mod world;

use std::{collections::BTreeSet, process::ExitCode, sync::atomic::Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// A backend, by the name of the flag.
pub const BACKENDS: [&str; 3] = ["fexit", "kprobe", "tracepoint"];

fn main() -> ExitCode {
    // Started by the test of a flood, under thousands of names.
    if let Some(port) = std::env::var_os(scrape::LISTEN_ONCE) {
        return scrape::listen_once(&port);
    }
    let arguments = Arguments::from_args();
    let doctor = match agent::doctor() {
        Ok(doctor) => doctor,
        Err(error) => {
            eprintln!("cannot ask the agent what this kernel offers: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    let played = match world::names() {
        Ok(names) => names,
        Err(error) => {
            eprintln!("cannot ask the scenario program what it plays: {error}");
            return ExitCode::FAILURE;
        }
    };
    for backend in BACKENDS {
        let refusal = refusal(&doctor, backend);
        // How a listen is confirmed makes a difference to one backend alone.
        let without = std::env::var("PORTREEVE_GUEST_WITHOUT").is_ok_and(|part| !part.is_empty());
        let played: &[_] = if without && backend != "tracepoint" {
            &[]
        } else {
            &played
        };
        for (name, suffix) in played {
            let title = format!("{backend}::plays_{name}{suffix}");
            let name = name.clone();
            match &refusal {
                None => trials.push(Trial::test(title, move || run(|| played_well(backend, &name)))),
                Some(reason) if is_required(backend) => {
                    let reason = format!("{backend}: {reason}");
                    trials.push(Trial::test(title, move || Err(Failed::from(reason))));
                }
                Some(reason) => {
                    cell(&name, backend, &format!("not run: {reason}"));
                    trials.push(not_run(title, reason));
                }
            }
        }
        let open_files = doctor["open_files"]["refusal"].as_str();
        for (name, test) in snapshot::ALL {
            let name = format!("{backend}::{name}");
            match refusal.as_deref().or(open_files) {
                None => trials.push(Trial::test(name, move || run(|| test(backend)))),
                Some(reason) if is_required(backend) => {
                    let reason = format!("{backend}: {reason}");
                    trials.push(Trial::test(name, move || Err(Failed::from(reason))));
                }
                Some(reason) => trials.push(not_run(name, reason)),
            }
        }
        let everywhere = scenarios::ALL.iter().chain(rules::ALL).chain(fallbacks::of(backend));
        let anywhere = everywhere.map(|scenario| (scenario, None));
        let in_cgroups = rules::IN_CGROUPS.iter().map(|scenario| (scenario, rules::missing()));
        for ((name, scenario), missing) in anywhere.chain(in_cgroups) {
            let name = format!("{backend}::{name}");
            if let Some(missing) = missing {
                trials.push(not_run(name, missing));
                continue;
            }
            match &refusal {
                None => trials.push(Trial::test(name, move || run(|| scenario(backend)))),
                // Where it is required, that it does not attach is what failed.
                Some(reason) if is_required(backend) => {
                    let reason = reason.clone();
                    trials.push(Trial::test(name, move || {
                        Err(Failed::from(format!("{backend}: {reason}")))
                    }));
                }
                Some(reason) => trials.push(not_run(name, reason)),
            }
        }
    }
    let singles = command_line::ALL
        .iter()
        .chain(history::ALL)
        .chain(test_alert::ALL)
        .chain(supervised::ALL)
        .chain(refusals::ALL)
        .chain(reload::ALL)
        .chain(http::ALL)
        .chain(page::ALL)
        .chain(kernel_fields::ALL)
        .chain(capabilities::ALL)
        .chain(confinement::ALL)
        .chain(receivers::ALL)
        .chain(outages::ALL);
    for (name, test) in singles {
        trials.push(Trial::test(*name, move || run(test)));
    }
    let here = programs::Programs::of_environment();
    for (name, shown_by, test) in programs::ALL {
        if here.path(shown_by).exists() {
            trials.push(Trial::test(*name, move || {
                run(|| test(&programs::Programs::of_environment()))
            }));
        } else {
            let reason = format!("{shown_by} is not here (PORTREEVE_PROGRAMS); it runs on the machine's own kernel");
            trials.push(not_run((*name).to_owned(), &reason));
        }
    }
    for (tests, missing) in [
        (http::WITH_SHELL, http::missing()),
        (page::IN_A_BROWSER, browser::missing()),
        (confinement::WITH_LANDLOCK, confinement::missing()),
        (page_elsewhere::IN_A_BROWSER, page_elsewhere::missing()),
        (receivers::WITH_ALERTMANAGER, receivers::missing()),
        (outages::WITH_ALERTMANAGER, receivers::missing()),
        (deployed_route::WITH_ALERTMANAGER, receivers::missing()),
        (deployed_rules::WITH_PROMETHEUS, prometheus_server::missing()),
        (demo::WITH_BOTH, demo::missing()),
        (deployed_dashboards::WITH_PROMETHEUS, prometheus_server::missing()),
        (scrape::WITH_PROMETHEUS, prometheus_server::missing()),
        (journal::WITH_JOURNALD, journal::missing()),
    ] {
        for (name, test) in tests {
            match &missing {
                None => trials.push(Trial::test(*name, move || run(test))),
                Some(reason) => trials.push(not_run((*name).to_owned(), reason)),
            }
        }
    }
    match std::env::var("PROMTOOL") {
        Ok(_) => trials.push(Trial::test("promtool_accepts_the_page", || {
            run(scrape::promtool_accepts_the_page)
        })),
        Err(_) => trials.push(not_run(
            "promtool_accepts_the_page".to_owned(),
            "PROMTOOL names no promtool here; it runs on the machine's own kernel",
        )),
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    world::end();
    conclusion.exit_code()
}

/// Plays a scenario, and says in a line of its own how it went, for the table of kernels.
fn played_well(backend: &str, name: &str) -> Test {
    let outcome = world::play(backend, name);
    let words = match &outcome {
        Ok(cell) => cell.words(),
        Err(_) => "FAILED".to_owned(),
    };
    cell(name, backend, &words);
    outcome.map(drop)
}

fn cell(name: &str, backend: &str, words: &str) {
    eprintln!("cell: {name} | {backend} | {words}");
}

/// A test and its name.
pub type Named = (&'static str, fn() -> Test);

/// Results of tests: an error is a sentence.
pub type Test = Result<(), Box<dyn std::error::Error>>;

/// Runs a test, and runs it again where it failed and the kernel left out a run of a hook meanwhile, which the agent says.
fn run(test: impl Fn() -> Test) -> Result<(), Failed> {
    for _ in 1..agent::PLAYS {
        agent::LEFT_OUT.store(false, Ordering::Relaxed);
        match test() {
            Err(error) if agent::LEFT_OUT.load(Ordering::Relaxed) => {
                eprintln!("played again, since the kernel left out a run of a hook: {error}");
            }
            outcome => return outcome.map_err(|error| Failed::from(error.to_string())),
        }
    }
    test().map_err(|error| Failed::from(error.to_string()))
}

fn not_run(name: String, reason: &str) -> Trial {
    eprintln!("not run: {name}: {reason}");
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}

/// Whether a backend attaches here.
fn attaches(backend: &str) -> bool {
    agent::doctor().is_ok_and(|doctor| refusal(&doctor, backend).is_none())
}

/// Why a backend does not attach here; `None` where it does.
fn refusal(doctor: &Value, backend: &str) -> Option<String> {
    let found = doctor["backends"]
        .as_array()?
        .iter()
        .find(|entry| entry["backend"] == backend);
    let Some(found) = found else {
        return Some("doctor does not know it".to_owned());
    };
    if found["attaches"] == true {
        return None;
    }
    let refusals = found["hooks"]
        .as_array()?
        .iter()
        .filter_map(|hook| hook["refusal"].as_str());
    // Mostly all hooks are refused for one reason.
    Some(
        refusals
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join("; "),
    )
}

fn is_required(backend: &str) -> bool {
    let required = std::env::var("PORTREEVE_REQUIRE_BACKENDS").unwrap_or_default();
    required.split(',').any(|required| required == backend)
}
