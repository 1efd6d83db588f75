//! `deploy/demo.sh`: what people try first.

use std::{
    io::Read,
    net::TcpStream,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{
    Named, Test,
    listeners::free_port,
    prometheus_server::{self, wait},
    receivers::{self, Outcome},
};

/// The script, where the sources are.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/demo.sh");

/// With a real Prometheus and a real Alertmanager.
pub const WITH_BOTH: &[Named] = &[("the_demo_starts_both_servers_and_ends_them_on_ctrl_c", demo)];

/// What keeps this test from running here.
pub fn missing() -> Option<String> {
    let without_sources = || (!Path::new(SCRIPT).exists()).then(|| "deploy/demo.sh is not here".to_owned());
    prometheus_server::missing()
        .or_else(receivers::missing)
        .or_else(without_sources)
}

/// The script in a process group of its own, as a terminal starts it. It is killed when it is dropped.
struct Demo {
    child: Child,
    ports: [u16; 2],
}

impl Demo {
    fn start() -> Outcome<Self> {
        let ports = [free_port()?, free_port()?];
        let folder = |variable: &str| Some(PathBuf::from(std::env::var_os(variable)?).join("usr/bin"));
        let folders = ["PORTREEVE_PROMETHEUS", "PORTREEVE_ALERTMANAGER"]
            .into_iter()
            .filter_map(folder);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(folders.chain(std::env::split_paths(&path)))?;
        let child = Command::new(SCRIPT)
            .env("PATH", path)
            .env("PROMETHEUS_PORT", ports[0].to_string())
            .env("ALERTMANAGER_PORT", ports[1].to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        Ok(Self { child, ports })
    }

    fn is_served(port: u16) -> bool {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    }

    fn signal(&self, signal: Signal) -> Test {
        Ok(kill_process_group(Pid::from_child(&self.child), signal)?)
    }

    fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// All that it wrote.
    fn output(&mut self) -> Outcome<String> {
        let mut output = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            stdout.read_to_string(&mut output)?;
        }
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut output)?;
        }
        Ok(output)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

fn demo() -> Test {
    let mut demo = Demo::start()?;
    let ports = demo.ports;
    let both = wait("both servers answer", || Ok(ports.into_iter().all(Demo::is_served)));
    demo.signal(Signal::INT)?;
    wait("the demo ends", || Ok(demo.ended()?.is_some()))?;
    let output = demo.output()?;
    both.map_err(|error| format!("{error}: {output}"))?;
    if ports.into_iter().any(Demo::is_served) {
        return Err(format!("a server goes on without the demo: {output}").into());
    }
    for port in ports {
        if !output.contains(&format!("http://127.0.0.1:{port}")) {
            return Err(format!("it does not say where {port} is: {output}").into());
        }
    }
    match demo.ended()? {
        Some(status) if status.success() => Ok(()),
        status => Err(format!("it ended with {status:?}: {output}").into()),
    }
}
