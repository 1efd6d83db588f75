//! `portreeve run`: the agent.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::print::print;
use crate::{
    agent,
    config::{self, Listen},
    confinement::{self, Part},
    exit::UsageError,
    identity::{Paths, runtime_answers},
    kernel::{Attempt, Backend, Service, capability::check_procfs, share_heap},
    output::log::{self, Format, Level},
};

/// Where HTTP is served unless something else is said.
pub(super) const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 19992);

/// The flags of `run`, named as those of Prometheus's exporters.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file (TOML); may be given several times, each with the conf.d/*.toml beside it
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Vec<PathBuf>,

    /// Read the configuration again when one of its files changes
    #[arg(long = "config.watch")]
    config_watch: bool,

    /// Ports to watch: numbers, ranges, service names (1990-1994,stun-p3,tcp/8080); may be given several times
    #[arg(long, value_name = "PORTS|NAMES")]
    watch: Vec<String>,

    /// Address to serve HTTP on, or unix:PATH; may be given several times
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS:PORT",
        default_values_t = [Listen::Tcp(DEFAULT_ADDRESS)]
    )]
    web_listen_address: Vec<Listen>,

    /// Serve HTTP on the sockets that systemd hands over, instead
    #[arg(long = "web.systemd-socket", conflicts_with = "web_listen_address")]
    web_systemd_socket: bool,

    /// TLS, users and headers of HTTP, in the format of Prometheus's exporters
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,

    /// Tell what listens to everybody who can reach the address, without a password too
    #[arg(long = "web.expose-api")]
    web_expose_api: bool,

    /// Path of the metrics page
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics")]
    web_telemetry_path: String,

    /// Let `POST /-/reload` read the configuration again
    #[arg(long = "web.enable-lifecycle")]
    web_enable_lifecycle: bool,

    /// URL under which people reach the agent's page, for the links in alerts [default: http://INSTANCE:PORT]
    #[arg(long = "web.external-url", value_name = "URL")]
    web_external_url: Option<String>,

    #[command(flatten)]
    paths: PathArgs,

    /// Use this backend only, instead of the first that attaches
    #[arg(long, value_enum)]
    backend: Option<Backend>,

    /// Bytes of the ring between kernel and agent: a power of two from 4096 to 67108864 [default: 1048576]
    #[arg(long = "probe.ring-bytes", value_name = "BYTES", value_parser = ring_bytes)]
    probe_ring_bytes: Option<u32>,

    /// Have the kernel measure how long the hooks run (portreeve_hook_seconds_total): it then measures every BPF program of the
    /// host, some 20 ns a run; takes CAP_SYS_ADMIN and Linux 5.8
    #[arg(long = "probe.stats")]
    probe_stats: bool,

    /// Write each event to stdout, as one JSON object a line
    #[arg(long, value_enum, value_name = "FORMAT")]
    events: Option<EventsFormat>,

    /// Load and verify everything, attach nothing, and exit
    #[arg(long)]
    check: bool,

    /// How much to log
    #[arg(long = "log.level", value_enum, default_value = "info")]
    log_level: Level,

    /// How to log
    #[arg(long = "log.format", value_enum, default_value = "logfmt")]
    log_format: Format,
}

/// Where the host's file systems are, as node_exporter names them.
#[derive(Clone, Debug, clap::Args)]
pub struct PathArgs {
    /// Mount point of the host's procfs
    #[arg(long = "path.procfs", value_name = "PATH", default_value = "/proc")]
    procfs: PathBuf,

    /// Mount point of the host's sysfs
    #[arg(long = "path.sysfs", value_name = "PATH", default_value = "/sys")]
    pub sysfs: PathBuf,

    /// Mount point of the host's root
    #[arg(long = "path.rootfs", value_name = "PATH", default_value = "/")]
    rootfs: PathBuf,

    /// Socket of the container runtime (CRI v1), which is asked for the images of containers; none is asked without it
    #[arg(long = "cri.socket", value_name = "PATH", value_parser = cri_socket)]
    cri_socket: Option<PathBuf>,
}

impl PathArgs {
    /// Whether they are there.
    pub fn check(&self) -> Result<(), UsageError> {
        check_procfs(&self.procfs)?;
        for (flag, folder) in [("--path.sysfs", &self.sysfs), ("--path.rootfs", &self.rootfs)] {
            if !folder.is_dir() {
                return Err(UsageError(format!("{flag}: {} is no folder", folder.display())));
            }
        }
        Ok(())
    }

    /// Why the container runtime does not answer, as a sentence; `None` where it does, or none is to be asked.
    pub fn runtime_refusal(&self) -> Option<String> {
        let socket = self.cri_socket.as_deref()?;
        let error = runtime_answers(socket).err()?;
        Some(format!(
            "--cri.socket {}: {error}; name the socket at which a runtime serves CRI v1, and that this user may write to; containers have no image",
            socket.display()
        ))
    }

    /// As the identity stage takes them.
    pub fn paths(&self) -> Paths {
        Paths {
            procfs: self.procfs.clone(),
            sysfs: self.sysfs.clone(),
            rootfs: self.rootfs.clone(),
            cri_socket: self.cri_socket.clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EventsFormat {
    Json,
}

/// Says what loads, and whether that is enough.
fn check(attempts: &[Attempt], asked: Option<Backend>) -> Result<ExitCode> {
    let mut text = String::new();
    for attempt in attempts {
        for hook in &attempt.hooks {
            let state = hook.refusal.as_deref().unwrap_or("loads");
            let subject = hook.subject.name();
            text.push_str(&format!("{}: {} for {subject}: {state}\n", attempt.backend, hook.hook));
        }
    }
    let loads = Service::possible(attempts, asked);
    if loads.is_some() {
        let asked_for = |attempt: &&Attempt| asked.is_none_or(|asked| asked == attempt.backend);
        let usable = attempts
            .iter()
            .filter(asked_for)
            .filter(|attempt| attempt.is_attached());
        let names: Vec<_> = usable.map(|attempt| attempt.backend.name()).collect();
        text.push_str(&format!(
            "ok: the configuration is right; what loads here: {}; `portreeve doctor` tries what attaches as well\n",
            names.join(", ")
        ));
    }
    print(&text)?;
    if loads.is_none() {
        bail!("no backend that was asked for loads on this kernel");
    }
    Ok(ExitCode::SUCCESS)
}

/// A path, also as the kubelet has it: `unix:///run/containerd/containerd.sock`.
fn cri_socket(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text.strip_prefix("unix://").unwrap_or(text));
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err("write the socket's whole path, as in /run/containerd/containerd.sock".to_owned())
    }
}

/// What the kernel takes for a ring: whole pages, and a power of two. More than 64 MiB would be a slip.
fn ring_bytes(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes @ 4_096..=67_108_864) if bytes.is_power_of_two() => Ok(bytes),
        _ => Err("write a power of two from 4096 to 67108864".to_owned()),
    }
}

/// Runs the agent until it is told to stop.
pub fn run(args: &Args) -> Result<ExitCode> {
    share_heap();
    confinement::begin();
    log::start_queued(args.log_level, args.log_format)?;
    let outcome = start(args);
    log::finish();
    outcome
}

fn start(args: &Args) -> Result<ExitCode> {
    let sources = config::Sources {
        files: args.config_file.clone(),
        flags: config::Flags {
            watch: args.watch.clone(),
            listen: args.web_listen_address.clone(),
            systemd_socket: args.web_systemd_socket,
            web_config: args.web_config_file.clone(),
            expose_api: args.web_expose_api,
            telemetry_path: args.web_telemetry_path.clone(),
            external_url: args.web_external_url.clone(),
            paths: args.paths.paths(),
            backend: args.backend,
            ring_bytes: args.probe_ring_bytes,
            probe_stats: args.probe_stats,
            events: matches!(args.events, Some(EventsFormat::Json)),
            lifecycle: args.web_enable_lifecycle,
            config_watch: args.config_watch,
        },
    };
    // Before they are read: a change while that lasts is one.
    let mark = sources.mark();
    let (settings, chosen) = sources.read()?;
    agent::warn_of_registry(&chosen);
    args.paths.check()?;
    if let Some(sentence) = config::waiting(&settings.policy) {
        ::log::info!("{sentence}");
    }
    if settings.events && stdout_leads_nowhere() {
        ::log::warn!("stdout is closed or thrown away: the lines that --events=json asks for go nowhere");
    }
    let writable = written_by_http(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .on_thread_start(move || {
            confinement::give_up_files_too(Part::Http, writable.iter().map(PathBuf::as_path));
        })
        .enable_all()
        .build()
        .context("cannot start the threads of the agent")?;
    if args.check {
        for remark in settings.receivers.unreadable() {
            ::log::warn!("{remark}");
        }
        if let Some(refusal) = args.paths.runtime_refusal() {
            ::log::warn!("{refusal}");
        }
        // The ring's reader registers with the runtime.
        return check(&runtime.block_on(async { agent::check(&settings) })?, settings.backend);
    }
    let result = runtime.block_on(agent::run(settings, chosen, sources, mark));
    // A look-up that hangs in a dead mount must not hold up the end.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

/// Folders that the threads of HTTP write in: beside the history, which is read from a file that a reader writes to as well, and
/// where the sockets are, which go with their server.
fn written_by_http(settings: &config::Settings) -> Vec<PathBuf> {
    let sockets = settings.listen.iter().filter_map(|listen| match listen {
        Listen::Unix(path) => path.parent().map(Path::to_owned),
        Listen::Tcp(_) => None,
    });
    let history = settings.history.path.parent();
    let history = history.map(confinement::of_database).unwrap_or_default();
    history.into_iter().chain(sockets).collect()
}

/// Whether there is no stdout: the standard library opens /dev/null in its place, for reading too, which no shell does that is
/// told to write there.
fn stdout_leads_nowhere() -> bool {
    let null = rustix::fs::makedev(1, 3);
    let is_null = rustix::fs::fstat(std::io::stdout()).is_ok_and(|file| file.st_rdev == null);
    is_null && rustix::fs::fcntl_getfl(std::io::stdout()).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::RDWR))
}
