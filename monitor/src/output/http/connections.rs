//! Connections: taken, bounded in number and in time, and served.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use axum::{Extension, Router};
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{Shared, door::Door, router};

/// What bounds connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that are served at one time. One more takes the place of the one that has been there longest without
    /// having asked for anything that is still to be answered: whoever connects and says nothing, or says it slowly, must
    /// not keep the places from those who ask.
    pub connections: usize,
    /// How long a handshake of TLS may take, a request's head, and the wait for the next request.
    pub head: Duration,
    /// How long a connection may last in all; of one that reads the stream of events, how long it may take nothing.
    pub connection: Duration,
    /// How long an answer that is under way then may still take.
    pub last_answer: Duration,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Bytes of a request's body, which nothing here needs.
    pub body_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(5),
            connection: Duration::from_secs(60),
            last_answer: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            body_bytes: 1024,
        }
    }
}

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// How long to wait where the system has no descriptors left.
const PAUSE: Duration = Duration::from_millis(200);

/// Where connections come from.
#[derive(Debug)]
pub enum Socket {
    /// An address.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One kind for all, so that what serves them is in the program once.
type AnyStream = Box<dyn Stream>;

impl Socket {
    /// Whether none but this host's own can reach it.
    fn is_local(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener.local_addr().is_ok_and(|address| address.ip().is_loopback()),
            Self::Unix(_) => true,
        }
    }

    async fn accept(&self) -> std::io::Result<AnyStream> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Serves until `shutdown` is done.
///
/// # Errors
/// None that ends it: a connection that cannot be taken now is taken later.
pub async fn serve(
    socket: Socket,
    shared: Shared,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let is_local = socket.is_local();
    serve_as(socket, is_local, shared, limits, shutdown).await
}

/// The same, of an address that others reach too or not.
pub(super) async fn serve_as(
    socket: Socket,
    is_local: bool,
    shared: Shared,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let router = router(&shared);
    let mut places = VecDeque::<Arc<Place>>::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut refused = false;
    let has_room = |places: &VecDeque<Arc<Place>>| {
        places.len() < limits.connections || places.iter().any(|place| !place.is_busy())
    };
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            stream = accept(&socket, &mut refused), if has_room(&places) => {
                if places.len() >= limits.connections
                    && let Some(longest) = places.iter().position(|place| !place.is_busy())
                    && let Some(place) = places.remove(longest)
                {
                    place.wanted.notify_one();
                }
                let place = Arc::new(Place::new());
                places.push_back(Arc::clone(&place));
                let shared = shared.clone();
                connections.spawn(connection(stream, router.clone(), shared, is_local, limits, place));
            }
            Some(_) = connections.join_next() => places.retain(|place| Arc::strong_count(place) > 1),
        }
    }
}

/// The place of a connection: held by the server, and by the connection as long as it lasts.
#[derive(Debug)]
pub(super) struct Place {
    /// Whether a request is being answered.
    answers: AtomicBool,
    /// Streams that are being written.
    streams: AtomicUsize,
    /// When a stream last went on: milliseconds since `begin`.
    progress: AtomicU64,
    begin: Instant,
    /// Another one takes it.
    wanted: Notify,
}

impl Place {
    fn new() -> Self {
        Self {
            answers: AtomicBool::new(false),
            streams: AtomicUsize::new(0),
            progress: AtomicU64::new(0),
            begin: Instant::now(),
            wanted: Notify::new(),
        }
    }

    fn is_busy(&self) -> bool {
        self.answers.load(Ordering::Relaxed) || self.is_streaming()
    }

    fn is_streaming(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > 0
    }

    /// When a stream last went on.
    fn progress(&self) -> Instant {
        self.begin + Duration::from_millis(self.progress.load(Ordering::Relaxed))
    }

    /// A stream begins, and lasts as long as what this returns.
    pub(super) fn streams(self: Arc<Self>) -> Streaming {
        self.streams.fetch_add(1, Ordering::Relaxed);
        let streaming = Streaming(self);
        streaming.progressed();
        streaming
    }
}

/// A stream that is being written.
#[derive(Debug)]
pub(super) struct Streaming(Arc<Place>);

impl Streaming {
    /// Its reader took something.
    pub(super) fn progressed(&self) {
        let now = u64::try_from(self.0.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.progress.store(now, Ordering::Relaxed);
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a connection. Cancel-safe: one that was not taken stays in the queue. `refused` says that the last one could not be
/// taken, which is said once for as long as it lasts.
async fn accept(socket: &Socket, refused: &mut bool) -> AnyStream {
    loop {
        match socket.accept().await {
            Ok(stream) => {
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

async fn connection(
    stream: AnyStream,
    router: Router,
    shared: Shared,
    is_local: bool,
    limits: Limits,
    place: Arc<Place>,
) {
    let greeted = tokio::select! {
        greeted = timeout(limits.head, greet(stream, &shared)) => greeted,
        () = place.wanted.notified() => return,
    };
    let Ok(Some((stream, is_certified))) = greeted else {
        return;
    };
    let door = Door {
        shared,
        is_local,
        is_certified,
        body_bytes: limits.body_bytes,
    };
    let router = TowerToHyperService::new(router.layer(Extension(Arc::clone(&place))));
    let answers = &place.answers;
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes)
        .max_headers(HEADERS_MAX)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| {
                let (door, router) = (&door, &router);
                async move {
                    answers.store(true, Ordering::Relaxed);
                    let answer = match door.admit(&request).await {
                        Ok(()) => router.call(request).await,
                        Err(refusal) => Ok(*refusal),
                    };
                    answers.store(false, Ordering::Relaxed);
                    answer.map(|answer| door.dress(answer))
                }
            }),
        );
    let mut served = pin!(served);
    let mut end = Instant::now() + limits.connection;
    let mut is_last = false;
    loop {
        tokio::select! {
            // How it ended is the client's affair.
            _ = &mut served => return,
            () = place.wanted.notified() => return,
            () = sleep_until(end) => {
                if place.is_streaming() {
                    end = place.progress() + limits.connection;
                    if end <= Instant::now() {
                        return;
                    }
                } else if std::mem::replace(&mut is_last, true) {
                    return;
                } else {
                    // What is under way is answered still; the next request takes a connection of its own.
                    served.as_mut().graceful_shutdown();
                    end = Instant::now() + limits.last_answer;
                }
            }
        }
    }
}

/// Shakes hands where TLS is spoken. Says whether the client is known by its certificate.
async fn greet(stream: AnyStream, shared: &Shared) -> Option<(AnyStream, bool)> {
    let web = shared.web.now().await;
    let Some(tls) = &web.tls else {
        return Some((stream, false));
    };
    match TlsAcceptor::from(Arc::clone(tls)).accept(stream).await {
        Ok(stream) => {
            let is_certified = web.verifies_clients && stream.get_ref().1.peer_certificates().is_some();
            Some((Box::new(stream), is_certified))
        }
        Err(error) => {
            ::log::debug!("a TLS handshake failed: {error}");
            None
        }
    }
}
