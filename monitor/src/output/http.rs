//! The HTTP server: the metrics page and the two questions of a supervisor.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Poll_, Poll},
};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
    serve::Listener,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::metrics::{CONTENT_TYPE, Metrics};

/// Connections that are served at one time; further ones wait.
const CONNECTIONS_MAX: usize = 64;

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

/// Opens a listening socket.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `shutdown` is done.
pub async fn serve(
    listener: TcpListener,
    telemetry_path: &str,
    shared: Shared,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
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
    let listener = Bounded {
        listener,
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    axum::serve(listener, router.with_state(shared))
        .with_graceful_shutdown(shutdown)
        .await
        .context("the HTTP server ended")
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

/// A listener that takes a connection only while there is a place for it.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// A connection that gives its place back when it ends.
struct Placed {
    stream: TcpStream,
    _place: Option<OwnedSemaphorePermit>,
}

impl Listener for Bounded {
    type Io = Placed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Placed, SocketAddr) {
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Placed { stream, _place: place }, address)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Poll_<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Poll_<'_>, buffer: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Poll_<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Poll_<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
