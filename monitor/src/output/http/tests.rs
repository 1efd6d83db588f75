//! The server over real sockets, with answers made as the agent makes them.

mod answers;
mod limits;
mod secured;
mod streams;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::Ordering,
    time::Duration,
};

use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime};

use super::{connections::serve_as, *};
use crate::{
    event::Event,
    identity::Clock,
    kernel::Backend,
    output::{
        Report,
        alert_states::{Listed, alerts as alerts_as_json},
        events::{Lines, listeners as listeners_as_json},
        listing::Selection,
        metrics::Tallies,
        notify::outbox::Times,
        port, samples, status,
    },
    policy::{Policy, Rule, Verdict},
    registry::Registry,
};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server that answers as the agent does, with what `samples` has.
pub(super) struct Server {
    address: SocketAddr,
    shared: Shared,
    /// Goes last, and all that runs with it.
    runtime: Runtime,
}

/// What differs from one server to the next.
pub(super) struct Setting {
    limits: Limits,
    is_local: bool,
    expose_api: bool,
    lifecycle: bool,
    web: Current,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            is_local: true,
            expose_api: false,
            lifecycle: false,
            web: Current::open(None).unwrap(),
        }
    }
}

impl Server {
    pub(super) fn start(change: impl FnOnce(&mut Setting)) -> Self {
        let mut setting = Setting::default();
        change(&mut setting);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (questions, mut asked) = mpsc::channel::<Question>(QUESTIONS_MAX);
        let (reloads, mut reload_asked) = mpsc::channel::<Reload>(QUESTIONS_MAX);
        let policy = Policy::new(vec![Rule::dormant_port()], Verdict::Unruled);
        let metrics = Metrics::new(&policy, Registry::embedded(), 1_000, None).unwrap();
        let shared = Shared {
            metrics: Arc::new(Mutex::new(metrics)),
            ready: Arc::default(),
            questions,
            reloads: setting.lifecycle.then_some(reloads),
            instance: Arc::from("web-7"),
            external_host: Some(Arc::from("ports.example.net")),
            telemetry_path: Arc::from("/metrics"),
            expose_api: setting.expose_api,
            web: Arc::new(setting.web),
            recent: Arc::new(Recent::new("run".to_owned())),
            readers: Arc::new(Semaphore::new(2)),
        };
        runtime.spawn(async move {
            while let Some(Question { about, answer }) = asked.recv().await {
                let _ = answer.send(Box::new(move || answer_of(about)));
            }
        });
        runtime.spawn(async move {
            let mut outcome = Ok(());
            while let Some(asked) = reload_asked.recv().await {
                let next = Err("portreeve.toml line 1 column 1: nonsense".to_owned());
                let _ = asked.send(std::mem::replace(&mut outcome, next));
            }
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (is_local, limits) = (setting.is_local, setting.limits);
        let serving = serve_as(
            Socket::Tcp(listener),
            is_local,
            shared.clone(),
            limits,
            std::future::pending(),
        );
        runtime.spawn(serving);
        Self {
            address,
            shared,
            runtime,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Asks with a method and further headers.
    fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = self.connect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.address
        );
        // Where the server has closed already, what it said is still to be read.
        let _ = stream.write_all(request.as_bytes());
        Answer::read(stream)
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Answer {
    /// Reads until the server closes.
    fn read(mut stream: impl std::io::Read) -> Self {
        let mut text = String::new();
        // One that is cut off is judged by what came.
        let _ = stream.read_to_string(&mut text);
        Self::of(&text)
    }

    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        Self {
            status: head
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok())
                .unwrap_or(0),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// python3 on 1992 and [::1]:22, and what is known of them.
fn listeners() -> Vec<(Event, Report)> {
    let events = [samples::listen(), samples::listen_at("::1", 22)];
    events.map(|event| (event.clone(), samples::report(&event))).into()
}

/// What the agent would answer.
fn answer_of(about: About) -> Result<String, String> {
    let (host, clock) = ("web-7", Clock::read());
    let now = samples::moment(clock, 0);
    let listeners = listeners();
    let items = listeners.iter().map(|(event, report)| (event, report, &[][..]));
    match about {
        About::Listeners(query) => {
            let page = Selection::parse(&query, Registry::embedded())?.page(items);
            Ok(listeners_as_json(host, now, clock, page))
        }
        About::Alerts => {
            let alert = samples::alert(now);
            let receivers = ["alertmanager-1".to_owned()];
            let times = Times {
                firing: Some(now),
                resolved: None,
            };
            let told = vec![("alertmanager-1".to_owned(), times)];
            let listed = Listed {
                alert,
                ended: None,
                told,
            };
            Ok(alerts_as_json(host, now, clock, &receivers, &[listed]))
        }
        About::Port(number) => {
            let items = items.filter(|(event, ..)| event.socket.port == number);
            let listened = port::listened(None, "", number);
            Ok(port::port(
                host,
                now,
                clock,
                number,
                Registry::embedded(),
                items,
                listened,
            ))
        }
        About::Status => {
            let facts = status::Facts {
                host: host.to_owned(),
                ready: true,
                started: now,
                backend: Backend::Tracepoint.name(),
                kernel: "6.12.0".to_owned(),
                hooks: Vec::new(),
                blind_spots: Vec::new(),
                unseen_namespaces: vec!["net:[1]: denied".to_owned()],
                listeners: 2,
                alerts: 1,
                expectations: 0,
                receivers: Vec::new(),
                registry: ("port-desc".to_owned(), "2024-06-12".to_owned(), 14_447),
                history: None,
            };
            let tallies = Tallies {
                lost: vec![("ring", 3)],
                drift: vec![("missed", 1)],
                selftest: 1_700_000_000.5,
                ..Tallies::default()
            };
            Ok(status::status(&facts, &tallies, now, clock))
        }
    }
}

/// Has this many listens told.
fn tell(recent: &Recent, lines: &mut Lines, count: usize) {
    let clock = Clock::read();
    let event = samples::listen();
    let report = samples::report(&event);
    for _ in 0..count {
        let line = lines.socket_later(&event, &report, clock);
        recent.put(lines.sequence(), line);
    }
}

fn lines() -> Lines {
    Lines::new("web-7".to_owned(), "run".to_owned())
}
