//! Rules and expectations that ask for more than a port, on a real kernel: which of them fire, and with which labels.

use std::{
    collections::BTreeSet,
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Test,
    agent::{Agent, brief, file},
    listeners::{Program, free_port, in_another_namespace, inode},
    scenarios::{Outcome, Scenario, fields},
};

/// On every backend.
pub const ALL: &[Scenario] = &[
    ("each_kind_of_rule_fires_for_what_it_is_on_and_for_nothing_else", kinds),
    (
        "a_rule_and_an_expectation_about_another_namespace_mean_that_one",
        namespaces,
    ),
];

/// On every backend where a test may make cgroups.
pub const IN_CGROUPS: &[Scenario] = &[(
    "rules_and_expectations_about_units_and_containers_mean_what_runs_there",
    cgroups,
)];

/// The root of the tree of cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A container's id.
const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What keeps the tests from making cgroups here.
pub fn missing() -> Option<&'static str> {
    let is_unified = Path::new(CGROUPS).join("cgroup.controllers").exists();
    if !is_unified {
        Some("the tree of cgroups is not that of v2 alone; it runs in guests")
    } else if Path::new("/run/systemd/system").exists() {
        Some("the tree of cgroups is systemd's here; it runs in guests")
    } else {
        None
    }
}

/// An agent with this configuration.
fn agent(backend: &str, config: &str) -> Outcome<Agent> {
    let (_folder, config) = file("rules.toml", config)?;
    Agent::start(backend, &["--config.file", &config])
}

/// What an alert is known by: rule, protocol, port, process, and `host` or the number of the namespace.
type Known = (String, String, u16, String, String);

fn known(rule: &str, protocol: &str, port: u16, process: &str, netns: &str) -> Known {
    let [rule, protocol, process, netns] = [rule, protocol, process, netns].map(str::to_owned);
    (rule, protocol, port, process, netns)
}

/// All alerts on these ports so far, by their labels.
fn fired(agent: &Agent, ports: &[u16]) -> Outcome<Vec<Known>> {
    let mut fired = Vec::new();
    for line in agent.seen().iter().filter(|line| line["event"] == "alert") {
        let label = |name: &str| line["labels"][name].as_str().unwrap_or_default();
        let port = label("port").parse()?;
        if ports.contains(&port) {
            fired.push(known(
                label("rule"),
                label("protocol"),
                port,
                label("process"),
                label("netns"),
            ));
        }
    }
    Ok(fired)
}

/// Waits for these alerts, and for anything that fires beside them.
fn only(agent: &mut Agent, ports: &[u16], expected: &[Known]) -> Test {
    for (rule, protocol, port, process, netns) in expected {
        let is_it = |line: &Value| {
            let labels = &line["labels"];
            line["event"] == "alert"
                && labels["rule"] == *rule
                && labels["protocol"] == *protocol
                && labels["port"].as_str() == Some(&port.to_string())
                && labels["process"] == *process
                && labels["netns"] == *netns
        };
        agent.wait_for(
            &format!("the alert of {rule} on {port}/{protocol} by {process}, {netns}"),
            is_it,
        )?;
    }
    // What else was fired comes before this one.
    let marker = TcpListener::bind(("127.0.0.1", 0))?;
    agent.event("listen", inode(&marker)?)?;
    let fired = fired(agent, ports)?;
    let (found, wanted): (BTreeSet<_>, BTreeSet<_>) = (fired.iter().collect(), expected.iter().collect());
    if found == wanted && fired.len() == expected.len() {
        Ok(())
    } else {
        Err(format!("fired: {fired:?}, and not {expected:?}").into())
    }
}

/// As labels name the program of an executable.
fn name(exe: &Path) -> Outcome<String> {
    let name = exe.file_name().and_then(|name| name.to_str()).ok_or("no executable")?;
    Ok(name.get(..32).unwrap_or(name).to_owned())
}

fn this_program() -> Outcome<String> {
    name(&std::env::current_exe()?)
}

/// As labels name the program of a line.
fn program_of(line: &Value) -> Outcome<String> {
    name(Path::new(line["process"]["exe"].as_str().ok_or("no executable")?))
}

fn kinds(backend: &str) -> Test {
    const KINDS: [&str; 5] = ["listen", "bind", "bind_failed", "connect", "accept"];
    let (port, closed) = (free_port()?, free_port()?);
    let rules = KINDS.map(|kind| {
        format!(
            "[[rule]]\nname = \"on-{}\"\nports = [{port}, {closed}]\non = [\"{kind}\"]\nseverity = \"info\"\n",
            kind.replace('_', "-")
        )
    });
    let mut agent = agent(backend, &rules.concat())?;

    let _server = Program::listening_on(port)?;
    let line = agent.event_on("listen", port)?;
    fields(
        &line,
        &[("/verdict", "unexpected".into()), ("/rule", "on-listen".into())],
    )?;
    let (server, own) = (program_of(&line)?, this_program()?);
    if TcpListener::bind(("127.0.0.1", port)).is_ok() {
        return Err(format!("{port} could be bound twice").into());
    }
    let client = TcpStream::connect(("127.0.0.1", port))?;
    if TcpStream::connect(("127.0.0.1", closed)).is_ok() {
        return Err(format!("something listens on {closed}").into());
    }
    let datagrams = UdpSocket::bind(("127.0.0.1", port))?;
    if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
        return Err(format!("{port}/udp could be bound twice").into());
    }

    let mut expected = vec![
        known("on-listen", "tcp", port, &server, "host"),
        known("on-connect", "tcp", port, &own, "host"),
        known("on-connect", "tcp", closed, &own, "host"),
    ];
    if backend != "tracepoint" {
        expected.extend([
            known("on-bind", "tcp", port, &server, "host"),
            known("on-bind-failed", "tcp", port, &own, "host"),
            known("on-accept", "tcp", port, &server, "host"),
            known("on-listen", "udp", port, &own, "host"),
            known("on-bind-failed", "udp", port, &own, "host"),
        ]);
    }
    only(&mut agent, &[port, closed], &expected)?;

    // Of a connect and an accept it is told who is at the other end.
    let here = client.local_addr()?.port().to_string();
    for (rule, peer) in [("on-connect", port.to_string()), ("on-accept", here)] {
        let alert = agent
            .seen()
            .iter()
            .find(|line| line["event"] == "alert" && line["rule"] == rule && line["port"] == port);
        let told = alert.map(|alert| alert["annotations"]["peer"].as_str().unwrap_or_default());
        if told.is_some_and(|told| !told.ends_with(&format!(":{peer}"))) {
            return Err(format!("{rule} does not name {peer}: {alert:?}").into());
        }
    }
    // A listener is open, and the others were over as they were told; all fire on.
    for kind in KINDS {
        let rule = format!("on-{}", kind.replace('_', "-"));
        let count = expected.iter().filter(|known| known.0 == rule).count();
        let firing = agent.metric("portreeve_alerts", &[("rule", rule.as_str())])?;
        if firing != Some(count as f64) {
            return Err(format!("{rule} has {firing:?} alerts in the metrics, and not {count}").into());
        }
    }
    drop((client, datagrams));
    Ok(())
}

fn namespaces(backend: &str) -> Test {
    let (port, expected) = (free_port()?, free_port()?);
    let mut agent = agent(
        backend,
        &format!(
            "[[rule]]\nname = \"elsewhere\"\nports = [{port}]\nnamespace = \"other\"\nseverity = \"warning\"\n\
             [[rule]]\nname = \"here\"\nports = [{port}]\nnamespace = \"host\"\nseverity = \"info\"\n\
             [[expect]]\nname = \"in-pods\"\nports = [{expected}]\nnamespace = \"other\"\n"
        ),
    )?;
    let own = this_program()?;
    let (there, netns) = in_another_namespace(port)?;
    let line = agent.event("listen", inode(&there)?)?;
    fields(
        &line,
        &[("/verdict", "unexpected".into()), ("/rule", "elsewhere".into())],
    )?;
    let elsewhere = known("elsewhere", "tcp", port, &own, &netns.to_string());
    only(&mut agent, &[port, expected], std::slice::from_ref(&elsewhere))?;

    let (allowed, _) = in_another_namespace(expected)?;
    let line = agent.event("listen", inode(&allowed)?)?;
    fields(&line, &[("/verdict", "expected".into()), ("/rule", Value::Null)])?;
    let here = TcpListener::bind(("0.0.0.0", port))?;
    let line = agent.event("listen", inode(&here)?)?;
    fields(&line, &[("/verdict", "unexpected".into()), ("/rule", "here".into())])?;
    let refused = TcpListener::bind(("0.0.0.0", expected))?;
    let line = agent.event("listen", inode(&refused)?)?;
    fields(
        &line,
        &[
            ("/verdict", "unexpected".into()),
            ("/rule", "unexpected-listener".into()),
        ],
    )?;
    only(
        &mut agent,
        &[port, expected],
        &[
            elsewhere,
            known("here", "tcp", port, &own, "host"),
            known("unexpected-listener", "tcp", expected, &own, "host"),
        ],
    )
}

/// A cgroup that goes with this, if nothing is left in it.
struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes it, with what lies above it.
    fn new(path: &str) -> Outcome<Self> {
        let cgroup = Self(Path::new(CGROUPS).join(path));
        fs::create_dir_all(&cgroup.0).map_err(|error| format!("cannot make {}: {error}", cgroup.0.display()))?;
        Ok(cgroup)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // One that is still busy is taken by the next test of that name.
        let _ = fs::remove_dir(&self.0);
    }
}

fn cgroups(backend: &str) -> Test {
    let [in_unit, in_container, nowhere, expected] = [free_port()?, free_port()?, free_port()?, free_port()?];
    let ports = [in_unit, in_container, nowhere, expected];
    let (short, scope) = (
        CONTAINER.get(..12).unwrap_or_default(),
        format!("docker-{CONTAINER}.scope"),
    );
    let (unit, container) = (
        Cgroup::new("system.slice/portreeve-test.service")?,
        Cgroup::new(&format!("system.slice/{scope}"))?,
    );
    let mut agent = agent(
        backend,
        &format!(
            "[[rule]]\nname = \"in-unit\"\nports = [{in_unit}, {in_container}, {nowhere}]\n\
             unit = \"portreeve-*.service\"\nseverity = \"warning\"\n\
             [[rule]]\nname = \"in-container\"\nports = [{in_unit}, {in_container}, {nowhere}]\n\
             container = \"{short}\"\nseverity = \"critical\"\n\
             [[expect]]\nname = \"by-unit\"\nports = [{expected}]\nunit = \"portreeve-test.service\"\n\
             [[expect]]\nname = \"by-container\"\nports = [{expected}]\ncontainer = \"{CONTAINER}\"\n"
        ),
    )?;
    let mut judged = |cgroup: Option<&Cgroup>, port, verdict: &str, rule: Value| -> Outcome<Value> {
        let mut program = match cgroup {
            Some(Cgroup(path)) => Program::listening_in(path, port)?,
            None => Program::listening_on(port)?,
        };
        let pid = program.pid();
        let line = agent.wait_for(&format!("the listen on {port} of {pid}"), |line| {
            line["event"] == "listen" && line["port"] == port && line["process"]["pid"] == pid
        })?;
        fields(&line, &[("/verdict", verdict.into()), ("/rule", rule)])?;
        program.kill()?;
        Ok(line)
    };
    let line = judged(Some(&unit), in_unit, "unexpected", "in-unit".into())?;
    let process = program_of(&line)?;
    fields(
        &line,
        &[
            ("/unit", "portreeve-test.service".into()),
            ("/container", Value::Null),
            ("/cgroup", "/system.slice/portreeve-test.service".into()),
        ],
    )?;
    let line = judged(Some(&container), in_container, "unexpected", "in-container".into())?;
    fields(
        &line,
        &[
            ("/unit", scope.as_str().into()),
            ("/container/runtime", "docker".into()),
            ("/container/id", CONTAINER.into()),
            ("/cgroup", format!("/system.slice/{scope}").into()),
        ],
    )?;
    judged(None, nowhere, "unruled", Value::Null)?;
    judged(Some(&unit), expected, "expected", Value::Null)?;
    judged(Some(&container), expected, "expected", Value::Null)?;
    judged(None, expected, "unexpected", "unexpected-listener".into())?;
    only(
        &mut agent,
        &ports,
        &[
            known("in-unit", "tcp", in_unit, &process, "host"),
            known("in-container", "tcp", in_container, &process, "host"),
            known("unexpected-listener", "tcp", expected, &process, "host"),
        ],
    )?;
    let told = |rule: &str, annotation: &str| {
        let alert = agent
            .seen()
            .iter()
            .find(|line| line["event"] == "alert" && line["rule"] == rule);
        alert.map(|alert| alert["annotations"][annotation].as_str().unwrap_or_default().to_owned())
    };
    if told("in-unit", "unit").as_deref() != Some("portreeve-test.service")
        || !told("in-container", "container").is_some_and(|container| container.contains(CONTAINER))
    {
        let alerts: Vec<_> = agent.seen().iter().map(brief).collect();
        return Err(format!("an alert does not name unit and container: {}", alerts.join("\n")).into());
    }
    Ok(())
}
