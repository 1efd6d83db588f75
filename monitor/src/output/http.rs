//! The HTTP server: the metrics page and the two questions of a supervisor.

use std::{
    collections::VecDeque,
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
    sync::Notify,
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
