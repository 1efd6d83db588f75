//! The stream of events: server-sent events, as the HTML standard has them
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! A reader has no buffer of its own but one message: it reads the ring that all share. Who reads too slowly finds that the
//! ring has gone on, and is told by how much.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper::body::Frame;
use tokio::{sync::mpsc, time::timeout};

use super::{Shared, connections::Place, query, sentence, web::Current};
use crate::{config::web::Web, output::recent::Recent};

/// How often something is said, so that whoever stands between does not take the connection for dead.
const HEART_BEAT: Duration = Duration::from_secs(15);

/// Events in one message at most.
const BATCH: usize = 16;

/// How long a browser waits before it asks again.
const OPENING: &str = "retry: 3000\n: portreeve\n\n";

pub(super) async fn events(
    State(shared): State<Shared>,
    Extension(place): Extension<Arc<Place>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = match query::Events::parse(query.as_deref()) {
        Ok(asked) => asked,
        Err(wrong) => return sentence(StatusCode::BAD_REQUEST, wrong),
    };
    let Ok(permit) = Arc::clone(&shared.readers).try_acquire_owned() else {
        let text = "as many read the events as may; try again later, or ask for /api/v1/events.";
        return sentence(StatusCode::SERVICE_UNAVAILABLE, text);
    };
    // A browser that comes back says where it was.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = last.map(str::to_owned).or(asked.after);
    let (sender, frames) = mpsc::channel(1);
    let streams = place.streams();
    // Who may read was asked once. Once that is configured anew, the reader has to come back and be asked again.
    let allowed = (Arc::clone(&shared.web), shared.web.last());
    let recent = Arc::clone(&shared.recent);
    tokio::spawn(async move {
        tokio::select! {
            () = write(&recent, after.as_deref(), &sender, &allowed, || streams.progressed()) => {}
            () = sender.closed() => {}
        }
        drop((permit, streams));
    });
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would keep events until it has some kilobytes of them.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (head, Body::new(Frames(frames))).into_response()
}

/// Writes until the reader is gone, or the web configuration is no longer the one that allowed it.
async fn write(
    recent: &Recent,
    after: Option<&str>,
    sender: &mpsc::Sender<Bytes>,
    (current, allowing): &(Arc<Current>, Arc<Web>),
    progressed: impl Fn(),
) {
    let mut bell = recent.bell();
    let mut opening = OPENING.to_owned();
    let mut at = match after {
        None => recent.last(),
        Some(id) => recent.sequence(id).unwrap_or_else(|| {
            // It is of another run of the agent: all there is is new, and nobody knows what else there was.
            opening.push_str(&skipped(None));
            recent.after(0, 1).events.first().map_or(0, |told| told.sequence - 1)
        }),
    };
    if sender.send(opening.into()).await.is_err() {
        return;
    }
    loop {
        bell.borrow_and_update();
        let row = recent.after(at, BATCH);
        let mut text = String::new();
        if row.skipped > 0 {
            text.push_str(&skipped(Some(row.skipped)));
        }
        for told in &row.events {
            at = told.sequence;
            text.push_str(&format!("id: {}\ndata: {}\n\n", recent.id(at), told.line()));
        }
        if text.is_empty() {
            match timeout(HEART_BEAT, bell.changed()).await {
                Ok(Ok(())) => continue,
                Ok(Err(_)) => return,
                Err(_) => text.push_str(":\n\n"),
            }
        }
        if !Arc::ptr_eq(allowing, &current.now().await) || sender.send(text.into()).await.is_err() {
            return;
        }
        progressed();
    }
}

/// Says how many events the reader has missed; `None` where nobody knows.
fn skipped(count: Option<u64>) -> String {
    let count = count.map_or_else(|| "null".to_owned(), |count| count.to_string());
    format!("event: skipped\ndata: {{\"count\":{count}}}\n\n")
}

/// What is written, as the body of an answer.
struct Frames(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
