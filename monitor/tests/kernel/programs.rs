//! Servers that nobody here wrote, as they open their sockets and pass them on: what a look finds of them, and what events
//! tell.
//!
//! `PORTREEVE_PROGRAMS` names a folder where they are unpacked as below `/`; what is not there is named as not run.

use std::{
    error::Error,
    net::{TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::{
    Test,
    agent::{Agent, DEADLINE, file},
    listeners::{free_port, inode},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A test's name, the file that shows that its program is there, and the test.
type Watched = (&'static str, &'static str, fn(&Programs) -> Test);

/// The programs.
pub const ALL: &[Watched] = &[
    (
        "nginx_with_a_socket_for_each_worker_trap_11_12",
        "usr/sbin/nginx",
        nginx,
    ),
    ("redis", "usr/bin/redis-server", redis),
    ("sshd", "usr/sbin/sshd", sshd),
    ("dnsmasq_on_udp_and_tcp_trap_30", "usr/sbin/dnsmasq", dnsmasq),
    (
        "a_socket_that_is_passed_on_by_activation_trap_13",
        "/usr/bin/systemd-socket-activate",
        activated,
    ),
    ("a_listener_of_mptcp_trap_1", "/usr/bin/python3", mptcp),
    (
        "an_agent_that_is_killed_under_churn_knows_all_again_trap_34",
        "/usr/bin/python3",
        killed_under_churn,
    ),
];

/// Where the programs are.
pub struct Programs(PathBuf);

impl Programs {
    /// As the environment says.
    pub fn of_environment() -> Self {
        Self(std::env::var_os("PORTREEVE_PROGRAMS").map_or_else(|| PathBuf::from("/nowhere"), PathBuf::from))
    }

    /// A program's file: below the folder, or the system's own for an absolute path.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// A command that finds its libraries there.
    pub fn command(&self, path: &str) -> Command {
        let mut command = Command::new(self.path(path));
        let libraries: Vec<_> = [
            "usr/lib/x86_64-linux-gnu",
            "lib/x86_64-linux-gnu",
            "usr/lib/aarch64-linux-gnu",
        ]
        .iter()
        .map(|folder| self.0.join(folder).display().to_string())
        .collect();
        command.env("LD_LIBRARY_PATH", libraries.join(":"));
        command
    }
}

/// A server with all that it started, ended when it is dropped.
pub struct Server(Child);

impl Server {
    /// Starts it, without input or output.
    pub fn start(command: &mut Command) -> Outcome<Self> {
        use std::os::unix::process::CommandExt as _;
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own: workers end with it.
        Ok(Self(quiet.process_group(0).spawn()?))
    }

    fn pid(&self) -> u64 {
        u64::from(self.0.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> Outcome<bool>) -> Test {
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        if is_so()? {
            return Ok(());
        }
        thread::park_timeout(Duration::from_millis(30));
    }
    Err(format!("{what} did not come about").into())
}

/// Waits until somebody listens there.
pub fn takes_connections(port: u16) -> Test {
    wait_until("a server that takes connections", || {
        Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
    })
}

/// The backend that this kernel takes, and a look each second.
fn agent() -> Outcome<(Agent, tempfile::TempDir)> {
    let (folder, path) = file("looks.toml", "[agent]\nreconcile = \"1s\"\n")?;
    let backend = ["fexit", "kprobe", "tracepoint"]
        .into_iter()
        .find(|backend| super::attaches(backend))
        .ok_or("no backend attaches here")?;
    Ok((Agent::start(backend, &["--config.file", &path])?, folder))
}

/// What the agent lists on a port.
fn listed(agent: &Agent, port: u16) -> Outcome<Vec<Value>> {
    let (status, body) = agent.get("/api/v1/listeners")?;
    if status != 200 {
        return Err(format!("{status}: {body}").into());
    }
    let document: Value = serde_json::from_str(&body)?;
    let listeners = document["listeners"].as_array().ok_or("no list")?;
    Ok(listeners
        .iter()
        .filter(|listener| listener["port"] == port)
        .cloned()
        .collect())
}

fn pids(listener: &Value) -> Vec<u64> {
    let holders = listener["holders"].as_array().into_iter().flatten();
    let mut pids: Vec<_> = holders.filter_map(|holder| holder["pid"].as_u64()).collect();
    pids.sort_unstable();
    pids
}

/// Starts a server before the agent, and again after it: one is there, the other is told. Each time the same is known.
fn before_and_after(start: impl Fn(u16) -> Outcome<Server>, check: impl Fn(&Agent, u16, &Server) -> Test) -> Test {
    let (before, after) = (free_port()?, free_port()?);
    let first = start(before)?;
    takes_connections(before)?;
    let (mut agent, _folder) = agent()?;
    let line = agent.event_on("listen", before)?;
    if line["origin"] != "existing" {
        return Err(format!("{} and not existing", line["origin"]).into());
    }
    check(&agent, before, &first)?;
    let second = start(after)?;
    takes_connections(after)?;
    let line = agent.event_on("listen", after)?;
    if line["origin"] != "event" {
        return Err(format!("{} and not event", line["origin"]).into());
    }
    check(&agent, after, &second)?;
    for (port, server) in [(before, first), (after, second)] {
        drop(server);
        agent.event_on("unlisten", port)?;
        wait_until("the end of all its sockets", || Ok(listed(&agent, port)?.is_empty()))?;
    }
    Ok(())
}

fn nginx(programs: &Programs) -> Test {
    let folder = tempfile::tempdir()?;
    // Its workers give up root, and must still come to its files.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let start = |port: u16| {
        let place = folder.path().join(port.to_string());
        std::fs::create_dir(&place)?;
        let at = place.display();
        let configuration = format!(
            "user root; worker_processes 4; daemon off; pid {at}/pid; error_log {at}/log;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};\n\
             uwsgi_temp_path {at}; scgi_temp_path {at};\n\
             server {{ listen 127.0.0.1:{port} reuseport; }} }}\n"
        );
        let path = place.join("nginx.conf");
        std::fs::write(&path, configuration)?;
        Server::start(programs.command("usr/sbin/nginx").arg("-c").arg(path))
    };
    before_and_after(start, |agent, port, server| {
        // One socket for each worker, all opened by the master.
        wait_until("four sockets that master and workers hold", || {
            let found = listed(agent, port)?;
            let opened = found.iter().all(|listener| {
                listener["process"]["pid"] == server.pid() && pids(listener).len() > 1 && listener["reuseport"] == true
            });
            Ok(found.len() == 4 && opened)
        })
    })
}

fn redis(programs: &Programs) -> Test {
    let start = |port: u16| {
        let mut command = programs.command("usr/bin/redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
        Server::start(&mut command)
    };
    before_and_after(start, |agent, port, server| {
        let found = listed(agent, port)?;
        match found.as_slice() {
            [only] if only["process"]["pid"] == server.pid() && pids(only) == [server.pid()] => Ok(()),
            _ => Err(format!("{found:?}").into()),
        }
    })
}

fn sshd(programs: &Programs) -> Test {
    let folder = tempfile::tempdir()?;
    let at = folder.path();
    let key = at.join("key");
    let made = programs
        .command("usr/bin/ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status()?;
    if !made.success() {
        return Err("ssh-keygen made no key".into());
    }
    let users = std::fs::read_to_string("/etc/passwd")? + "sshd:x:64998:65534::/run/sshd:/usr/sbin/nologin\n";
    std::fs::write(at.join("passwd"), users)?;
    let start = |port: u16| {
        // In a mount namespace of its own, where its user and its folder are.
        let script = format!(
            "mount --bind {0}/passwd /etc/passwd && mount -t tmpfs tmpfs /run && mkdir /run/sshd && \
             exec {1} -D -f /dev/null -h {2} -o ListenAddress=127.0.0.1 -p {port}",
            at.display(),
            programs.path("usr/sbin/sshd").display(),
            key.display()
        );
        let mut command = programs.command("/usr/bin/unshare");
        Server::start(command.args(["--mount", "sh", "-c", &script]))
    };
    before_and_after(start, |agent, port, server| {
        let found = listed(agent, port)?;
        match found.as_slice() {
            [only] if only["process"]["pid"] == server.pid() && ends_with(&only["process"]["exe"], "/sshd") => Ok(()),
            _ => Err(format!("{found:?}").into()),
        }
    })
}

fn ends_with(value: &Value, end: &str) -> bool {
    value.as_str().is_some_and(|text| text.ends_with(end))
}

fn dnsmasq(programs: &Programs) -> Test {
    let start = |port: u16| {
        let mut command = programs.command("usr/sbin/dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--user=root",
        ]);
        command.args([
            "--conf-file=/dev/null",
            "--pid-file=",
            "--listen-address=127.0.0.1",
            "--port",
            &port.to_string(),
        ]);
        Server::start(&mut command)
    };
    before_and_after(start, |agent, port, server| {
        wait_until("one socket of TCP and one of UDP", || {
            let found = listed(agent, port)?;
            let mut protocols: Vec<_> = found
                .iter()
                .filter_map(|listener| listener["protocol"].as_str())
                .collect();
            protocols.sort_unstable();
            let own = found.iter().all(|listener| listener["process"]["pid"] == server.pid());
            Ok(own && protocols == ["tcp", "udp"])
        })
    })
}

fn activated(programs: &Programs) -> Test {
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let mut command = programs.command("/usr/bin/systemd-socket-activate");
    // It becomes the program at the first connection, which then has the socket.
    let server = Server::start(command.args(["--listen", &address, "--", "/bin/sleep", "600"]))?;
    let (mut agent, _folder) = agent()?;
    wait_until("its socket", || Ok(listed(&agent, port)?.len() == 1))?;
    let _connection = TcpStream::connect(("127.0.0.1", port))?;
    wait_until("the program that holds it now", || {
        let found = listed(&agent, port)?;
        let holders = found
            .first()
            .map(|listener| listener["holders"].clone())
            .unwrap_or_default();
        Ok(holders[0]["comm"] == "sleep" && holders[0]["pid"] == server.pid())
    })?;
    drop(server);
    agent.event_on("unlisten", port)?;
    Ok(())
}

fn mptcp(_: &Programs) -> Test {
    let start = |port: u16| {
        let script = format!(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)\n\
             s.bind(('127.0.0.1', {port}))\ns.listen()\nwhile True: s.accept()[0].close()"
        );
        Server::start(Command::new("python3").args(["-c", &script]))
    };
    before_and_after(start, |agent, port, server| {
        let found = listed(agent, port)?;
        match found.as_slice() {
            [only] if only["process"]["pid"] == server.pid() && only["mptcp"] == true => Ok(()),
            _ => Err(format!("{found:?}").into()),
        }
    })
}

fn killed_under_churn(_: &Programs) -> Test {
    let listeners: Vec<_> = (0..20)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<Result<_, _>>()?;
    let bound = UdpSocket::bind(("127.0.0.1", 0))?;
    let script = "import socket, time\nwhile True:\n time.sleep(0.001); s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); s.close()";
    let _churn = Server::start(Command::new("python3").args(["-c", script]))?;
    for _ in 0..3 {
        let (mut agent, _folder) = agent()?;
        for listener in &listeners {
            let line = agent.event("listen", inode(listener)?)?;
            if line["origin"] != "existing" {
                return Err(format!("{} and not existing", line["origin"]).into());
            }
        }
        agent.event("bind", inode(&bound)?)?;
        // Long enough for a look that could find something twice.
        agent.catch_up(Duration::from_millis(1500))?;
        for listener in &listeners {
            let socket = inode(listener)?;
            let told = agent.seen().iter().filter(|line| line["socket"] == socket).count();
            if told != 1 {
                return Err(format!("socket {socket} was told {told} times").into());
            }
            if listed(&agent, listener.local_addr()?.port())?.len() != 1 {
                return Err(format!("socket {socket} is not listed once").into());
            }
        }
        agent.stop(Signal::KILL)?;
    }
    Ok(())
}
