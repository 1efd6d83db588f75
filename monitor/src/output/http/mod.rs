//! The HTTP server: the pages, the metrics, the API with its stream of events, and the two questions of a supervisor.
//!
//! `connections` takes and bounds connections, `door` says who may ask for what, `auth` who somebody is; `api`, `stream` and
//! `page` (with what is below `page/`) answer. `web` is the web configuration in use. docs/openapi.yaml has each path and each answer.

mod api;
mod auth;
mod connections;
mod door;
mod page;
mod query;
mod stream;
mod web;

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicBool};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::{
    connections::{Limits, Socket, serve},
    web::Current,
};
use super::{
    metrics::{CONTENT_TYPE, Metrics},
    recent::Recent,
};

/// What the handlers see.
#[derive(Clone)]
pub struct Shared {
    /// The metrics, which the pipeline writes.
    pub metrics: Arc<Mutex<Metrics>>,
    /// Whether the hooks are attached and the first look is over.
    pub ready: Arc<AtomicBool>,
    /// Asks the agent what it knows.
    pub questions: mpsc::Sender<Question>,
    /// Asks the agent to read its configuration again; `None` where nobody may.
    pub reloads: Option<mpsc::Sender<Reload>>,
    /// The host's name, by which it may be asked.
    pub instance: Arc<str>,
    /// The host in `--web.external-url`, by which it may be asked too.
    pub external_host: Option<Arc<str>>,
    /// Path of the metrics page.
    pub telemetry_path: Arc<str>,
    /// Whether everybody who reaches it is told what listens.
    pub expose_api: bool,
    /// TLS, users and headers.
    pub web: Arc<Current>,
    /// The events of a while.
    pub recent: Arc<Recent>,
    /// A place for each reader of the stream.
    pub readers: Arc<Semaphore>,
}

/// Readers of the stream at one time. Each keeps a connection for as long as it likes, so most connections are left for others.
pub const READERS_MAX: usize = 16;

/// An answer, still to be written down as JSON: that takes a while on a large host. Where the question made no sense, it is
/// one sentence.
pub type Listing = Box<dyn FnOnce() -> Result<String, String> + Send>;

/// A question, and where the answer goes.
pub struct Question {
    /// What is asked.
    pub about: About,
    /// Who asked.
    pub answer: oneshot::Sender<Listing>,
}

/// What can be asked of the agent.
pub enum About {
    /// What listens, by the query of the URL.
    Listeners(String),
    /// Which alerts fire, are pending, or ended lately.
    Alerts,
    /// What is known of a port.
    Port(u16),
    /// How the agent is.
    Status,
}

/// Whoever waits for the configuration to be read again: told nothing, or one sentence on why the old one stays.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// Questions that wait at most.
pub const QUESTIONS_MAX: usize = 4;

/// Where the listeners are.
pub const LISTENERS: &str = "/api/v1/listeners";

/// Where the alerts are.
pub const ALERTS: &str = "/api/v1/alerts";

/// Locks the metrics. A thread that died while it held them left numbers, which are as good as before.
pub fn lock(metrics: &Mutex<Metrics>) -> std::sync::MutexGuard<'_, Metrics> {
    metrics.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(shared: &Shared) -> Router {
    let mut router = Router::new()
        .route(&shared.telemetry_path, only(get(metrics)))
        .route(HEALTHY, only(get(|| async { "portreeve is healthy.\n" })))
        .route(READY, only(get(ready)))
        .route("/-/reload", only(post(api::reload).put(api::reload)))
        .route(LISTENERS, only(get(api::listeners)))
        .route(ALERTS, only(get(api::alerts)))
        .route("/api/v1/ports/{port}", only(get(api::port)))
        .route("/api/v1/events", only(get(api::events)))
        .route("/api/v1/events/stream", only(get(stream::events)))
        .route("/api/v1/status", only(get(api::status)))
        .route("/ports/{port}", only(get(page::port)))
        .route("/assets/{name}", only(get(page::file)))
        .fallback(|| async { sentence(StatusCode::NOT_FOUND, "there is nothing here; / says what there is") });
    if &*shared.telemetry_path != "/" {
        router = router.route("/", only(get(page::listeners)));
    }
    router.with_state(shared.clone())
}

const HEALTHY: &str = "/-/healthy";
const READY: &str = "/-/ready";

/// Says so where another method is tried.
fn only(methods: MethodRouter<Shared>) -> MethodRouter<Shared> {
    methods.fallback(|| async { sentence(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method") })
}

/// An answer of one sentence, as all errors are.
fn sentence(status: StatusCode, text: impl std::fmt::Display) -> Response {
    (status, format!("{text}\n")).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let page = lock(&shared.metrics).page();
    match page.text() {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(error) => sentence(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}

async fn ready(State(shared): State<Shared>) -> Response {
    if shared.ready.load(std::sync::atomic::Ordering::Acquire) {
        "portreeve is ready.\n".into_response()
    } else {
        let text = "portreeve is not ready: its hooks are not attached yet.";
        sentence(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

#[cfg(test)]
mod tests;
