//! Listeners to drive the agent with: programs that nobody here wrote, and sockets of the test's own.

use std::{
    error::Error,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
};

use rustix::{
    fs::fstat,
    net::{AddressFamily, SocketType, bind, listen, socket, sockopt},
};

use super::agent::has_program;

/// A program that listens until it is dropped.
pub struct Program {
    child: Child,
}

impl Program {
    /// `python3 -m http.server PORT`, or, where there is no Python, `busybox nc -l -p PORT`.
    pub fn listening_on(port: u16) -> Result<Self, Box<dyn Error>> {
        let [program, arguments @ ..] = &Self::command(port)[..] else {
            return Err("no program".into());
        };
        Self::spawn(Command::new(program).args(arguments))
    }

    /// The same program, which is in a cgroup before it does anything.
    pub fn listening_in(cgroup: &Path, port: u16) -> Result<Self, Box<dyn Error>> {
        let script = r#"echo $$ >"$1/cgroup.procs" && shift && exec "$@""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(cgroup).args(Self::command(port));
        Self::spawn(&mut command)
    }

    fn command(port: u16) -> Vec<String> {
        let port = port.to_string();
        let words = if has_program("python3") {
            ["python3", "-m", "http.server", &port]
        } else {
            ["nc", "-l", "-p", &port]
        };
        words.map(str::to_owned).to_vec()
    }

    fn spawn(command: &mut Command) -> Result<Self, Box<dyn Error>> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: quiet.spawn()? })
    }

    /// Process id. A shim may start another process, so this is only the one that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it takes connections on this port.
    pub fn wait_until_it_listens(&self, port: u16) -> Result<(), Box<dyn Error>> {
        let end = std::time::Instant::now() + super::agent::DEADLINE;
        let wanted = format!(":{port:04X} ");
        while std::time::Instant::now() < end {
            let table = std::fs::read_to_string("/proc/net/tcp")?
                + &std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
            if table
                .lines()
                .any(|line| line.contains(&wanted) && line.contains(" 0A "))
            {
                return Ok(());
            }
            thread::park_timeout(std::time::Duration::from_millis(20));
        }
        Err(format!("nothing listens on {port}").into())
    }

    /// SIGKILL, and wait.
    pub fn kill(&mut self) -> Result<(), Box<dyn Error>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Inode of a socket: what events call `socket`.
pub fn inode(socket: impl AsFd) -> Result<u64, Box<dyn Error>> {
    Ok(fstat(socket)?.st_ino)
}

/// A socket that is bound and not listening yet.
pub struct Bound(pub OwnedFd);

impl Bound {
    /// Binds with SO_REUSEADDR, and what the closure asks for besides.
    pub fn to(
        address: SocketAddr,
        prepare: impl Fn(&OwnedFd) -> rustix::io::Result<()>,
    ) -> Result<Self, Box<dyn Error>> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = socket(family, SocketType::STREAM, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        prepare(&socket)?;
        bind(&socket, &address)?;
        Ok(Self(socket))
    }

    /// Listens.
    pub fn listen(&self, backlog: i32) -> rustix::io::Result<()> {
        listen(&self.0, backlog)
    }

    /// Port that it is bound to.
    pub fn port(&self) -> Result<u16, Box<dyn Error>> {
        let address = SocketAddr::try_from(rustix::net::getsockname(&self.0)?)?;
        Ok(address.port())
    }
}

/// A free port, and not one that the kernel would choose for somebody else meanwhile.
pub fn free_port() -> Result<u16, Box<dyn Error>> {
    // Below the usual range of automatic ports; each test that runs at the same time gets another one.
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    for _ in 0..5_000 {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port between 20000 and 25000 is free".into())
}

/// Listens on every address of a new network namespace, and says its number. Only with the listener does the namespace end.
pub fn in_another_namespace(port: u16) -> Result<(TcpListener, u32), Box<dyn Error>> {
    // A thread of its own moves there and opens the port.
    let there = thread::spawn(move || -> Result<(TcpListener, u32), String> {
        let tried = || -> Result<(TcpListener, u32), Box<dyn Error>> {
            #[expect(
                deprecated,
                reason = "the thread opens a socket and ends; it shares nothing that moves with it"
            )]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET)?;
            let namespace = std::fs::metadata("/proc/thread-self/ns/net")?.ino();
            Ok((TcpListener::bind(("0.0.0.0", port))?, namespace.try_into()?))
        };
        tried().map_err(|error| error.to_string())
    });
    Ok(there.join().map_err(|_| "the thread in the other namespace died")??)
}
