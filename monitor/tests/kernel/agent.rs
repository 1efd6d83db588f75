//! The agent as a child process: started, read line by line, scraped, stopped.

use std::{
    error::Error,
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take. Guests are emulated, so this is generous; nothing waits longer than it must.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Whether the kernel left out a run of a hook, as some agent said that has ended since this was last set to false: where a
/// kernel can be preempted, it does not run a program that runs on the same processor already.
pub static LEFT_OUT: AtomicBool = AtomicBool::new(false);

/// How often a test is run at most whose agent said so: with a flood of calls of one function on the same processor, three times
/// were seen not to be enough.
pub const PLAYS: usize = 5;

/// How long an event may take that has happened already.
const PATIENCE: Duration = Duration::from_secs(10);

/// The agent's binary.
pub fn binary() -> PathBuf {
    std::env::var_os("PORTREEVE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_portreeve").into(), PathBuf::from)
}

/// Runs the agent with arguments until it ends by itself, which it must before the deadline.
pub fn output(arguments: &[&str]) -> Result<Output, Box<dyn Error>> {
    output_of(Command::new(binary()).args(arguments))
}

/// The backend that the agent would choose.
pub fn backend() -> Result<String, Box<dyn Error>> {
    Ok(doctor()?["chosen"]
        .as_str()
        .ok_or("no backend attaches here")?
        .to_owned())
}

/// Runs a command until it ends by itself, which it must before the deadline.
pub fn output_of(command: &mut Command) -> Result<Output, Box<dyn Error>> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = Pid::from_child(&child);
    let (done, ended) = channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    match ended.recv_timeout(DEADLINE) {
        Ok(output) => Ok(output?),
        Err(_) => {
            kill_process(pid, Signal::KILL)?;
            Err(format!("{command:?} does not end by itself").into())
        }
    }
}

/// What `doctor` says of this kernel.
pub fn doctor() -> Result<Value, Box<dyn Error>> {
    let output = output(&["doctor", "--json"])?;
    Ok(serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?)
}

/// A running agent. It is killed when it is dropped, and its log is shown where the test fails.
pub struct Agent {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<Value>,
    log: Arc<Mutex<Vec<String>>>,
    address: String,
    /// Whether the test adds up itself what the kernel left out, so that this excuses nothing.
    adds_up: bool,
}

impl Agent {
    /// Starts it with JSON lines on stdout, a free port for HTTP and a backend, and waits until it is armed.
    pub fn start(backend: &str, arguments: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(binary());
        command.args(["run", "--events=json", "--log.level=debug", "--backend", backend]);
        command.args(["--web.listen-address", "127.0.0.1:0"]).args(arguments);
        Self::spawn(&mut command)
    }

    /// Starts a command that is an agent.
    pub fn spawn(command: &mut Command) -> Result<Self, Box<dyn Error>> {
        Self::spawn_with(command, Stdio::null())
    }

    /// The same, with something that it inherits as its standard input.
    pub fn spawn_with(command: &mut Command, stdin: Stdio) -> Result<Self, Box<dyn Error>> {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (sender, lines) = channel();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let log = Arc::new(Mutex::new(Vec::new()));
        let (kept, stderr) = (Arc::clone(&log), child.stderr.take().ok_or("no stderr")?);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Ok(mut log) = kept.lock() {
                    log.push(line);
                }
            }
        });
        let mut agent = Self {
            child,
            lines,
            seen: Vec::new(),
            log,
            address: String::new(),
            adds_up: false,
        };
        agent.wait_for_log("armed: listeners are reported")?;
        let serving = agent.wait_for_log("serving http://")?;
        let rest = serving.split("http://").nth(1).ok_or("no address in the log")?;
        agent.address = rest.split('/').next().unwrap_or_default().to_owned();
        Ok(agent)
    }

    /// The test adds up what the kernel left out: it is not to be run again for that.
    pub fn adds_up_what_is_left_out(&mut self) {
        self.adds_up = true;
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Port that it serves HTTP on.
    pub fn port(&self) -> u16 {
        let port = self.address.rsplit(':').next().and_then(|port| port.parse().ok());
        port.unwrap_or_default()
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }

    /// Waits for a log line that contains this.
    pub fn wait_for_log(&mut self, text: &str) -> Result<String, Box<dyn Error>> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(line) = self.log().into_iter().find(|line| line.contains(text)) {
                return Ok(line);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the agent ended ({status}): {}", self.log().join("\n")).into());
            }
            if Instant::now() > end {
                return Err(format!("the agent never said `{text}`: {}", self.log().join("\n")).into());
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Waits for a line that this holds of. Lines that came before it and were not asked for are kept: see
    /// [`Agent::seen`].
    pub fn wait_for(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value, Box<dyn Error>> {
        if let Some(line) = self.seen.iter().find(|line| is_it(line)) {
            return Ok(line.clone());
        }
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let line: Value = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
                    let found = is_it(&line);
                    self.seen.push(line.clone());
                    if found {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let seen: Vec<_> = self.seen.iter().map(brief).collect();
                    let log = self.log().join("\n");
                    return Err(format!("never saw {what}; saw:\n{}\nlog:\n{log}", seen.join("\n")).into());
                }
            }
        }
    }

    /// Waits for a line behind the first so many that this holds of.
    pub fn wait_for_new(
        &mut self,
        behind: usize,
        what: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let end = Instant::now() + PATIENCE;
        let mut looked = behind;
        loop {
            while let Some(line) = self.seen.get(looked) {
                if is_it(line) {
                    return Ok(());
                }
                looked += 1;
            }
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self
                    .seen
                    .push(serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?),
                Err(_) => return Err(format!("never saw {what}").into()),
            }
        }
    }

    /// Takes the lines that come within this time.
    pub fn catch_up(&mut self, time: Duration) -> Result<(), Box<dyn Error>> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(serde_json::from_str(&line)?),
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Waits for an event of a socket.
    pub fn event(&mut self, kind: &str, inode: u64) -> Result<Value, Box<dyn Error>> {
        self.wait_for(&format!("{kind} of socket {inode}"), |line| {
            line["event"] == kind && line["socket"] == inode
        })
    }

    /// Waits for an event on a port.
    pub fn event_on(&mut self, kind: &str, port: u16) -> Result<Value, Box<dyn Error>> {
        self.wait_for(&format!("{kind} on {port}"), |line| {
            line["event"] == kind && line["port"] == port
        })
    }

    /// All lines so far.
    pub fn seen(&self) -> &[Value] {
        &self.seen
    }

    /// Opens a connection to its HTTP server.
    pub fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(&self.address)
    }

    /// Gets a path by HTTP: status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String), Box<dyn Error>> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no end of headers")?;
        let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        if chunked {
            Err("the answer came in chunks".into())
        } else {
            Ok((status, body.to_owned()))
        }
    }

    /// The value of a series that has all these labels, in a fresh scrape; `None` where there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>, Box<dyn Error>> {
        let (status, page) = self.get("/metrics")?;
        if status != 200 {
            return Err(format!("/metrics answered {status}").into());
        }
        let series = page.lines().find(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
                && labels
                    .iter()
                    .all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
        });
        Ok(series.and_then(|line| line.rsplit(' ').next()?.parse().ok()))
    }

    /// Waits until a series has a value (or is gone: `None`).
    pub fn wait_for_metric(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        expected: Option<f64>,
    ) -> Result<(), Box<dyn Error>> {
        self.wait_for_metric_of(name, labels, |value| value == expected)
    }

    /// Waits until this holds of the value of a series.
    pub fn wait_for_metric_of(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        holds: impl Fn(Option<f64>) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let end = Instant::now() + DEADLINE;
        loop {
            let value = self.metric(name, labels)?;
            if holds(value) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("{name}{labels:?} stays at {value:?}").into());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Box<dyn Error>> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Asks it to stop, and waits until it has. The lines it still printed are in [`Agent::seen`] afterwards.
    pub fn stop(&mut self, signal: Signal) -> Result<ExitStatus, Box<dyn Error>> {
        self.signal(signal)?;
        let end = Instant::now() + DEADLINE;
        let status = loop {
            // Keep reading, or it could not write its last lines.
            while let Ok(line) = self.lines.try_recv() {
                self.seen.push(serde_json::from_str(&line)?);
            }
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                return Err(format!("the agent does not stop: {}", self.log().join("\n")).into());
            }
            thread::park_timeout(Duration::from_millis(5));
        };
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            self.seen.push(serde_json::from_str(&line)?);
        }
        Ok(status)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let left_out = "the kernel left out runs of a hook";
        if !self.adds_up && self.log().iter().any(|line| line.contains(left_out)) {
            LEFT_OUT.store(true, Ordering::Relaxed);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line in a few words.
pub fn brief(line: &Value) -> String {
    let field = |name: &str| line.get(name).map(ToString::to_string).unwrap_or_default();
    format!(
        "{} {} {}:{} socket {} result {}",
        field("id"),
        field("event"),
        field("address"),
        field("port"),
        field("socket"),
        field("result")
    )
}

/// Writes a file into a folder of its own, which goes with the guard.
pub fn file(name: &str, content: impl AsRef<[u8]>) -> Result<(tempfile::TempDir, String), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&path, content)?;
    let path = path.to_str().ok_or("a path that is not UTF-8")?.to_owned();
    Ok((folder, path))
}

/// Whether a program is to be had on PATH.
pub fn has_program(name: impl AsRef<OsStr>) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name.as_ref()).is_file())
}

impl Agent {
    /// Closes the reading end of stdout, as `| head` does.
    pub fn forget_stdout(&mut self) {
        // The thread that reads ends at its next line, and with it the pipe.
        let (_, nothing) = channel();
        self.lines = nothing;
    }
}
