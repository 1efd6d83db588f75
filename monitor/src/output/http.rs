//! The HTTP server: the metrics page and the two questions of a supervisor.

use std::{
    collections::VecDeque,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::metrics::{CONTENT_TYPE, Metrics};

/// Connections that are served at one time. One more takes the place of the one that has been there longest without
/// having asked for anything that is still to be answered: whoever connects and says nothing, or says it slowly, must
/// not keep the places from those who ask.
const CONNECTIONS_MAX: usize = 64;

/// How long a request's head may take, and a connection may wait for its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may last in all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait where the system has no descriptors left.
const PAUSE: Duration = Duration::from_millis(200);

/// What the handlers see.
#[derive(Clone)]
pub struct Shared {
    /// The metrics, which the pipeline writes.
    pub metrics: Arc<Mutex<Metrics>>,
    /// Whether the hooks are attached and the first look is over.
    pub ready: Arc<AtomicBool>,
    /// Asks the agent what listens.
    pub questions: mpsc::Sender<Question>,
    /// Asks the agent to read its configuration again; `None` where nobody may.
    pub reloads: Option<mpsc::Sender<Reload>>,
    /// The host's name, by which it may be asked.
    pub instance: Arc<str>,
}

/// An answer, still to be written down as JSON: that takes a while on a large host.
pub type Listing = Box<dyn FnOnce() -> String + Send>;

/// A question, and where the answer goes.
pub enum Question {
    /// What listens.
    Listeners(oneshot::Sender<Listing>),
    /// Which alerts fire, are pending, or ended lately.
    Alerts(oneshot::Sender<Listing>),
}

/// Whoever waits for the configuration to be read again: told nothing, or one sentence on why the old one stays.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// Questions that wait at most.
pub const QUESTIONS_MAX: usize = 4;

/// Locks the metrics. A thread that died while it held them left numbers, which are as good as before.
pub fn lock(metrics: &Mutex<Metrics>) -> std::sync::MutexGuard<'_, Metrics> {
    metrics.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until `shutdown` is done.
pub async fn serve(
    listener: TcpListener,
    telemetry_path: &str,
    shared: Shared,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    // On an address that others reach, what runs here is nobody's business but for the numbers.
    let exposed = !listener.local_addr()?.ip().is_loopback();
    let router = router(telemetry_path, exposed).with_state(shared);
    let mut places = VecDeque::<Arc<Place>>::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut refused = false;
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            stream = accept(&listener, &mut refused), if has_room(&places) => {
                if places.len() >= CONNECTIONS_MAX
                    && let Some(longest) = places.iter().position(|place| !place.answers())
                    && let Some(place) = places.remove(longest)
                {
                    place.wanted.notify_one();
                }
                let place = Arc::<Place>::default();
                places.push_back(Arc::clone(&place));
                connections.spawn(connection(stream, router.clone(), place));
            }
            Some(_) = connections.join_next() => places.retain(|place| Arc::strong_count(place) > 1),
        }
    }
}

/// The place of a connection: held by the server, and by the connection as long as it lasts.
#[derive(Default)]
struct Place {
    /// Whether a request is being answered.
    answers: AtomicBool,
    /// Another one takes it.
    wanted: Notify,
}

impl Place {
    fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }
}

/// Whether one more can be served: there is a place, or one that can be taken.
fn has_room(places: &VecDeque<Arc<Place>>) -> bool {
    places.len() < CONNECTIONS_MAX || places.iter().any(|place| !place.answers())
}

fn router(telemetry_path: &str, exposed: bool) -> Router<Shared> {
    let landing = format!(
        "<!doctype html><html lang=\"en\"><title>portreeve</title><h1>portreeve</h1>\
         <p>What listens on this host. <a href=\"{telemetry_path}\">Metrics</a></p></html>"
    );
    let mut router = Router::new()
        .route(telemetry_path, get(metrics))
        .route("/-/healthy", get(|| async { "portreeve is healthy.\n" }))
        .route("/-/ready", get(ready))
        .route(
            "/-/reload",
            if exposed {
                post(|| async { withheld() })
            } else {
                post(reload).put(reload)
            },
        )
        .route(
            LISTENERS,
            if exposed {
                get(|| async { withheld() })
            } else {
                get(|state, headers| answer(state, headers, Question::Listeners))
            },
        )
        .route(
            ALERTS,
            if exposed {
                get(|| async { withheld() })
            } else {
                get(|state, headers| answer(state, headers, Question::Alerts))
            },
        );
    if telemetry_path != "/" {
        router = router.route("/", get(move || async move { Html(landing) }));
    }
    router
}

/// Where the listeners are.
pub const LISTENERS: &str = "/api/v1/listeners";

/// Where the alerts are.
pub const ALERTS: &str = "/api/v1/alerts";

fn withheld() -> Response {
    (
        StatusCode::FORBIDDEN,
        "portreeve tells what listens on loopback alone: serve it there too, with a second --web.listen-address.\n",
    )
        .into_response()
}

/// Whether a request was meant for this host: a page of a stranger's that a browser was told to find here (DNS rebinding)
/// has a name of its own.
fn is_meant_for_us(headers: &HeaderMap, instance: &str) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        // HTTP/1.0, which no browser speaks.
        return true;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok() || bare == "localhost" || bare == instance
}

/// Whether a page of somebody else's made a browser ask.
fn is_of_another_origin(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &header::HeaderValue| value.to_str().unwrap_or_default())
    };
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => false,
        (Some(origin), host) => origin.split_once("://").map(|(_, origin)| origin) != host,
    }
}

async fn reload(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    if !is_meant_for_us(&headers, &shared.instance) {
        return misdirected();
    }
    if is_of_another_origin(&headers) {
        return (
            StatusCode::FORBIDDEN,
            "portreeve takes this from pages of its own alone.\n",
        )
            .into_response();
    }
    let Some(reloads) = shared.reloads else {
        let text = "portreeve was not started with --web.enable-lifecycle.\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    };
    let (ask, answer) = oneshot::channel();
    if reloads.send(ask).await.is_err() {
        return unavailable();
    }
    match answer.await {
        Ok(Ok(())) => "portreeve has read its configuration again.\n".into_response(),
        Ok(Err(sentence)) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{sentence}; the configuration that is in use stays\n"),
        )
            .into_response(),
        Err(_) => unavailable(),
    }
}

fn misdirected() -> Response {
    let text = "portreeve does not know this Host: ask for the address, for localhost or for the host's name.\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

fn unavailable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "portreeve is busy or stopping.\n").into_response()
}

async fn answer(
    State(shared): State<Shared>,
    headers: HeaderMap,
    ask: fn(oneshot::Sender<Listing>) -> Question,
) -> Response {
    if !is_meant_for_us(&headers, &shared.instance) {
        return misdirected();
    }
    let (question, answer) = oneshot::channel();
    if shared.questions.send(ask(question)).await.is_err() {
        return unavailable();
    }
    let Ok(listing) = answer.await else {
        return unavailable();
    };
    match tokio::task::spawn_blocking(listing).await {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => unavailable(),
    }
}

/// Takes a connection. Cancel-safe: one that was not taken stays in the queue. `refused` says that the last one could not be
/// taken, which is said once for as long as it lasts.
async fn accept(listener: &TcpListener, refused: &mut bool) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                *refused = false;
                return stream;
            }
            Err(error) => {
                if !std::mem::replace(refused, true) {
                    ::log::warn!("cannot take HTTP connections for now: {error}");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, place: Arc<Place>) {
    let router = TowerToHyperService::new(router);
    let answers = &place.answers;
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| {
                let answer = router.call(request);
                async {
                    answers.store(true, Ordering::Relaxed);
                    let answer = answer.await;
                    answers.store(false, Ordering::Relaxed);
                    answer
                }
            }),
        );
    // How it ended is the client's affair.
    tokio::select! {
        _ = timeout(CONNECTION_TIMEOUT, served) => {}
        () = place.wanted.notified() => {}
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let page = lock(&shared.metrics).page();
    match page.text() {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

async fn ready(State(shared): State<Shared>) -> Response {
    if shared.ready.load(Ordering::Acquire) {
        "portreeve is ready.\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "portreeve is not ready: its hooks are not attached yet.\n",
        )
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_this_hosts_is_somebody_elses() {
        let asked = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, header::HeaderValue::from_static(host));
            is_meant_for_us(&headers, "web-7")
        };
        for host in [
            "127.0.0.1:19992",
            "[::1]:19992",
            "localhost",
            "localhost:80",
            "web-7:19992",
            "10.0.0.1",
        ] {
            assert!(asked(host), "{host}");
        }
        for host in ["evil.example:19992", "web-8", "localhost.evil.example", ""] {
            assert!(!asked(host), "{host}");
        }
        assert!(is_meant_for_us(&HeaderMap::new(), "web-7"));
    }

    #[test]
    fn a_page_of_another_origin_may_not_ask_for_a_change() {
        let other = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, header::HeaderValue::from_static("127.0.0.1:19992"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, header::HeaderValue::from_static(origin));
            }
            is_of_another_origin(&headers)
        };
        assert!(!other(None) && !other(Some("http://127.0.0.1:19992")));
        for origin in ["http://127.0.0.1:8080", "https://evil.example", "null", ""] {
            assert!(other(Some(origin)), "{origin}");
        }
    }
}
