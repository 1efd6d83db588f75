//! The HTTP server: the metrics page and the two questions of a supervisor.

use std::{
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
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::metrics::{CONTENT_TYPE, Metrics};

/// Connections that are served at one time; further ones wait.
const CONNECTIONS_MAX: usize = 64;

/// How long a request's head may take, and a connection may wait for its next request: whoever connects and says
/// nothing must not keep the places from those who ask.
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
}

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
    let router = router(telemetry_path).with_state(shared);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            (stream, place) = accept(&listener, &places) => {
                connections.spawn(connection(stream, router.clone(), place));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn router(telemetry_path: &str) -> Router<Shared> {
    let landing = format!(
        "<!doctype html><html lang=\"en\"><title>portreeve</title><h1>portreeve</h1>\
         <p>What listens on this host. <a href=\"{telemetry_path}\">Metrics</a></p></html>"
    );
    let mut router = Router::new()
        .route(telemetry_path, get(metrics))
        .route("/-/healthy", get(|| async { "portreeve is healthy.\n" }))
        .route("/-/ready", get(ready));
    if telemetry_path != "/" {
        router = router.route("/", get(move || async move { Html(landing) }));
    }
    router
}

/// Takes a connection once there is a place for it. Cancel-safe: a connection that was not taken stays in the queue.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                ::log::warn!("cannot take an HTTP connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, place: Option<OwnedSemaphorePermit>) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // How it ended is the client's affair.
    let _ = timeout(CONNECTION_TIMEOUT, served).await;
    drop(place);
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match lock(&shared.metrics).page() {
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
