//! What listened before the agent started, and what it was never told.

use std::{
    error::Error,
    net::{TcpListener, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{
    Test,
    agent::{Agent, DEADLINE, binary, file},
    listeners::{Program, inode},
    losses::fill_the_ring,
    scenarios::Scenario,
};

/// The tests, by name; each gets the backend to use.
pub const ALL: &[Scenario] = &[
    (
        "what_listened_before_is_known_with_its_holder_and_ends_once_trap_37",
        before,
    ),
    ("what_listened_before_in_another_namespace_is_known_trap_21", elsewhere),
    ("a_listen_that_was_lost_is_found_within_seconds_trap_37", lost_listen),
    ("all_who_hold_a_listener_are_named_trap_12_66", holders),
    (
        "an_alert_that_fired_before_a_restart_is_told_once_and_resolved_trap_41",
        alert_once,
    ),
    ("a_listener_in_flight_stays_and_is_found_trap_66", in_flight),
    (
        "a_restart_tells_each_listener_once_as_existing_and_counts_none",
        restart,
    ),
    (
        "what_listened_before_is_known_from_a_pid_namespace_of_its_own_too_trap_47",
        own_pids,
    ),
];

/// With this the agent looks each second.
const EACH_SECOND: &str = "[agent]\nreconcile = \"1s\"\n";

/// Fields of a line, by JSON pointer.
fn fields(line: &Value, expected: &[(&str, Value)]) -> Test {
    for (pointer, expected) in expected {
        let found = line.pointer(pointer).unwrap_or(&Value::Null);
        if found != expected {
            return Err(format!("{pointer} is {found}, not {expected}, in {line}").into());
        }
    }
    Ok(())
}

/// A program of busybox, where the tests have one, or else of the host.
fn applet(name: &str) -> Command {
    let Some(busybox) = std::env::var_os("PORTREEVE_BUSYBOX") else {
        return Command::new(name);
    };
    let mut command = Command::new(busybox);
    command.arg(name);
    command
}

/// A process, which ends with this.
struct Inner(Pid);

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// The iterator goes through the processes of the reader's pid namespace, and says nothing of the others.
fn own_pids(backend: &str) -> Test {
    let before = TcpListener::bind(("127.0.0.1", 0))?;
    let mut command = applet("unshare");
    command.args(["-p", "-f", "--mount-proc"]).arg(binary());
    command.args(["run", "--events=json", "--log.level=debug", "--backend", backend]);
    let (_folder, path) = file("agent.toml", EACH_SECOND)?;
    command.args(["--config.file", &path]);
    let mut agent = Agent::spawn(command.args(["--web.listen-address", "127.0.0.1:0"]))?;
    let pid = agent.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let inner = Pid::from_raw(children.trim().parse()?).ok_or("the agent has no process")?;
    let _inner = Inner(inner);
    agent.wait_for_log("this is not the host's pid namespace")?;
    let line = agent.event("listen", inode(&before)?)?;
    fields(&line, &[("/origin", "existing".into()), ("/process", Value::Null)])?;
    fields(&line, &[("/missing", Value::Array(vec!["process".into()]))])?;
    // Of what begins now the kernel side knows who did it.
    let now = TcpListener::bind(("127.0.0.1", 0))?;
    let line = agent.event("listen", inode(&now)?)?;
    fields(
        &line,
        &[("/origin", "event".into()), ("/process/pid", std::process::id().into())],
    )?;
    let socket = inode(&before)?;
    drop(before);
    // The kernel side was never told of it, so a look tells of its end.
    fields(&agent.event("unlisten", socket)?, &[("/origin", "reconciled".into())])
}

fn told(agent: &Agent, event: &str, socket: u64) -> usize {
    let lines = agent.seen().iter();
    lines
        .filter(|line| line["event"] == event && line["socket"] == socket)
        .count()
}

fn before(backend: &str) -> Test {
    let mut program = Program::listening_on(1992)?;
    let own = TcpListener::bind(("127.0.0.1", 0))?;
    let udp = UdpSocket::bind(("127.0.0.1", 1992))?;
    program.wait_until_it_listens(1992)?;
    let mut agent = Agent::start(backend, &[])?;
    let line = agent.event("listen", inode(&own)?)?;
    fields(
        &line,
        &[
            ("/origin", "existing".into()),
            ("/result", "ok".into()),
            ("/process/pid", std::process::id().into()),
            ("/port", own.local_addr()?.port().into()),
            ("/automatic", true.into()),
            ("/scope", "loopback".into()),
            ("/missing", Value::Array(Vec::new())),
        ],
    )?;
    let exe = std::fs::read_link("/proc/self/exe")?;
    fields(&line, &[("/process/exe", exe.to_string_lossy().into_owned().into())])?;
    let other = agent.event_on("listen", 1992)?;
    fields(
        &other,
        &[
            ("/origin", "existing".into()),
            ("/process/pid", program.pid().into()),
            ("/rule", "dormant-port".into()),
        ],
    )?;
    fields(&agent.event("bind", inode(&udp)?)?, &[("/origin", "existing".into())])?;
    agent.wait_for("the alert", |line| {
        line["event"] == "alert" && line["protocol"] == "tcp"
    })?;
    // It is there, and it did not begin to listen now.
    let watched = [("protocol", "tcp"), ("port", "1992")];
    agent.wait_for_metric("portreeve_watched_port_listeners", &watched, Some(1.0))?;
    agent.wait_for_metric("portreeve_watched_port_listens_total", &watched, Some(0.0))?;
    agent.wait_for_metric("portreeve_listens_total", &[("port", "1992")], None)?;
    if agent.metric("portreeve_last_snapshot_timestamp_seconds", &[])? < Some(1.0) {
        return Err("no time of the snapshot".into());
    }
    agent.wait_for_metric("portreeve_blind_spot", &[("situation", "other_namespaces")], None)?;

    program.kill()?;
    let socket = other["socket"].as_u64().ok_or("no socket")?;
    let end = agent.event("unlisten", socket)?;
    fields(
        &end,
        &[
            ("/origin", "event".into()),
            ("/process/pid", other["process"]["pid"].clone()),
        ],
    )?;
    drop(udp);
    // The tracepoint leaves it to a look, which comes once a minute.
    if backend != "tracepoint" {
        agent.wait_for("the end of UDP", |line| {
            line["event"] == "unlisten" && line["protocol"] == "udp"
        })?;
    }
    agent.stop(Signal::TERM)?;
    match told(&agent, "unlisten", socket) {
        1 => Ok(()),
        ends => Err(format!("{ends} ends").into()),
    }
}

fn elsewhere(backend: &str) -> Test {
    let there = thread::spawn(|| -> Result<TcpListener, String> {
        let tried = || -> Result<TcpListener, Box<dyn Error>> {
            #[expect(
                deprecated,
                reason = "the thread opens a socket and ends; it shares nothing that moves with it"
            )]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET)?;
            Ok(TcpListener::bind(("0.0.0.0", 0))?)
        };
        tried().map_err(|error| error.to_string())
    });
    let there = there.join().map_err(|_| "the thread in the other namespace died")??;
    let mut agent = Agent::start(backend, &[])?;
    let line = agent.event("listen", inode(&there)?)?;
    fields(
        &line,
        &[
            ("/origin", "existing".into()),
            ("/host_netns", false.into()),
            ("/process/pid", std::process::id().into()),
        ],
    )?;
    drop(there);
    agent.event("unlisten", line["socket"].as_u64().ok_or("no socket")?)?;
    Ok(())
}

/// The listener of this socket, as the agent lists it.
fn listed(agent: &Agent, socket: u64) -> Result<Option<Value>, Box<dyn Error>> {
    let (status, body) = agent.get("/api/v1/listeners")?;
    if status != 200 {
        return Err(format!("{status}: {body}").into());
    }
    let document: Value = serde_json::from_str(&body)?;
    let listeners = document["listeners"].as_array().ok_or("no list")?;
    Ok(listeners.iter().find(|listener| listener["socket"] == socket).cloned())
}

/// Waits until these processes hold it, in the order of their age.
fn held_by(agent: &Agent, socket: u64, pids: &[u32]) -> Test {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let listener = listed(agent, socket)?.ok_or("it is not listed")?;
        let holders = listener["holders"].as_array().ok_or("no holders")?;
        let mut found: Vec<_> = holders.iter().filter_map(|holder| holder["pid"].as_u64()).collect();
        found.sort_unstable();
        let mut expected: Vec<_> = pids.iter().map(|pid| u64::from(*pid)).collect();
        expected.sort_unstable();
        if found == expected {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("held by {found:?} and not by {expected:?}").into());
        }
        thread::park_timeout(Duration::from_millis(50));
    }
}

fn holders(backend: &str) -> Test {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let socket = inode(&listener)?;
    // One that a program inherits.
    let inherited = rustix::io::dup(&listener)?;
    let mut heir = Sleeper::start()?;
    drop(inherited);
    let (_folder, path) = file("looks.toml", EACH_SECOND)?;
    let mut agent = Agent::start(backend, &["--config.file", &path])?;
    fields(
        &agent.event("listen", socket)?,
        &[
            ("/origin", "existing".into()),
            // The one that has lived longest.
            ("/process/pid", std::process::id().into()),
        ],
    )?;
    held_by(&agent, socket, &[std::process::id(), heir.pid()])?;
    drop(listener);
    held_by(&agent, socket, &[heir.pid()])?;
    if told(&agent, "unlisten", socket) > 0 {
        return Err("it ended with its opener's descriptor".into());
    }
    heir.kill()?;
    agent.event("unlisten", socket)?;
    Ok(())
}

fn in_flight(backend: &str) -> Test {
    use rustix::net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
        socketpair,
    };
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let socket = inode(&listener)?;
    let (sender, receiver) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [std::os::fd::AsFd::as_fd(&listener)];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err("no room for the descriptor".into());
    }
    sendmsg(
        &sender,
        &[std::io::IoSlice::new(b"x")],
        &mut control,
        SendFlags::empty(),
    )?;
    drop(listener);
    // No process has a descriptor of it now.
    let (_folder, path) = file("looks.toml", EACH_SECOND)?;
    let mut agent = Agent::start(backend, &["--config.file", &path])?;
    fields(
        &agent.event("listen", socket)?,
        &[
            ("/origin", "existing".into()),
            ("/process", Value::Null),
            ("/missing", vec!["process"].into()),
            ("/automatic", Value::Null),
        ],
    )?;
    held_by(&agent, socket, &[])?;
    drop(receiver);
    agent.event("unlisten", socket)?;
    Ok(())
}

fn alert_once(backend: &str) -> Test {
    let folder = tempfile::tempdir()?;
    let configuration = format!(
        "[agent]\nstate = \"{}\"\n[[rule]]\nname = \"odd\"\nports = [1994]\nseverity = \"critical\"\nkeep_firing_for = \"1s\"\n\
         [[rule]]\nname = \"dormant-port\"\nports = [1]\nseverity = \"info\"\n",
        folder.path().display()
    );
    let (_folder, path) = file("state.toml", configuration)?;
    let alerts = |agent: &Agent| agent.seen().iter().filter(|line| line["event"] == "alert").count();
    let firing = [("rule", "odd"), ("severity", "critical")];
    let listener = TcpListener::bind(("127.0.0.1", 1994))?;
    let mut agent = Agent::start(backend, &["--config.file", &path])?;
    agent.wait_for("the alert", |line| line["event"] == "alert")?;
    agent.stop(Signal::KILL)?;
    for _ in 0..2 {
        let mut agent = Agent::start(backend, &["--config.file", &path])?;
        agent.event("listen", inode(&listener)?)?;
        agent.wait_for_metric("portreeve_alerts", &firing, Some(1.0))?;
        // Longer than it has to fire.
        agent.catch_up(Duration::from_secs(2))?;
        if alerts(&agent) > 0 {
            return Err("the alert was told again".into());
        }
        agent.wait_for_metric("portreeve_alerts", &firing, Some(1.0))?;
        agent.stop(Signal::KILL)?;
    }
    // What ended while nobody looked is resolved by the next agent.
    drop(listener);
    let mut agent = Agent::start(backend, &["--config.file", &path])?;
    agent.wait_for("the end of the alert", |line| line["event"] == "alert_resolved")?;
    if alerts(&agent) > 0 {
        return Err("the alert was told again".into());
    }
    Ok(())
}

/// A program that does nothing but hold what it inherited.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn start() -> Result<Self, Box<dyn Error>> {
        Ok(Self(applet("sleep").arg("600").spawn()?))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn kill(&mut self) -> Test {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Of a test that failed.
        let _ = self.kill();
    }
}

fn lost_listen(backend: &str) -> Test {
    let mut agent = Agent::start(backend, &[])?;
    agent.signal(Signal::STOP)?;
    fill_the_ring()?;
    let lost = TcpListener::bind(("127.0.0.1", 1994))?;
    agent.signal(Signal::CONT)?;
    let line = agent.event("listen", inode(&lost)?)?;
    fields(
        &line,
        &[
            ("/origin", "reconciled".into()),
            ("/process/pid", std::process::id().into()),
            ("/rule", "dormant-port".into()),
        ],
    )?;
    agent.wait_for("the alert", |line| line["event"] == "alert" && line["port"] == 1994)?;
    agent.wait_for("the drift", |line| line["event"] == "drift" && line["kind"] == "missed")?;
    agent.wait_for_metric_of("portreeve_inventory_drift_total", &[("kind", "missed")], |count| {
        count > Some(0.0)
    })?;
    let socket = inode(&lost)?;
    drop(lost);
    agent.event("unlisten", socket)?;
    Ok(())
}

fn restart(backend: &str) -> Test {
    let open: Vec<_> = (0..20)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<Result<_, _>>()?;
    let busy = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let churning = std::sync::Arc::clone(&busy);
    let churn = thread::spawn(move || {
        while churning.load(std::sync::atomic::Ordering::Relaxed) {
            drop(TcpListener::bind(("127.0.0.1", 0)));
            thread::park_timeout(Duration::from_millis(1));
        }
    });
    let outcome = (|| {
        for _ in 0..2 {
            let mut agent = Agent::start(backend, &[])?;
            for listener in &open {
                fields(
                    &agent.event("listen", inode(listener)?)?,
                    &[("/origin", "existing".into())],
                )?;
            }
            agent.catch_up(Duration::from_millis(500))?;
            for listener in &open {
                let socket = inode(listener)?;
                let (begins, ends) = (told(&agent, "listen", socket), told(&agent, "unlisten", socket));
                if (begins, ends) != (1, 0) {
                    return Err(format!("socket {socket}: {begins} begins and {ends} ends").into());
                }
            }
            // What ended while it was looked for, the agent's own test among it, is no listener that nobody holds.
            let wrong = |line: &&Value| {
                let of_nobody = line["event"] == "listen" && line["process"].is_null() && line["scope"] == "loopback";
                of_nobody || line["event"] == "drift"
            };
            if let Some(line) = agent.seen().iter().find(wrong) {
                let losses: Vec<String> = (agent.seen().iter())
                    .filter(|line| line["event"] == "lost" || line["event"] == "drift")
                    .map(ToString::to_string)
                    .collect();
                return Err(format!("a look found what is not there: {line}; losses and drifts: {losses:#?}").into());
            }
            agent.stop(Signal::KILL)?;
        }
        Ok(())
    })();
    busy.store(false, std::sync::atomic::Ordering::Relaxed);
    churn.join().map_err(|_| "the churning thread broke off")?;
    outcome
}
