//! What the API answers at once.

use axum::{
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::oneshot;

use super::{About, Question, Shared, query, sentence};
use crate::output::recent::Told;

pub(super) async fn listeners(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    ask(&shared, About::Listeners(query.unwrap_or_default())).await
}

pub(super) async fn alerts(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    ask_plainly(&shared, query, Ok(About::Alerts)).await
}

pub(super) async fn status(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    ask_plainly(&shared, query, Ok(About::Status)).await
}

pub(super) async fn port(
    State(shared): State<Shared>,
    Path(port): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    ask_plainly(&shared, query, query::port(&port).map(About::Port)).await
}

/// Asks what takes no parameters.
async fn ask_plainly(shared: &Shared, query: Option<String>, about: Result<About, String>) -> Response {
    match query::none(query.as_deref()).and(about) {
        Ok(about) => ask(shared, about).await,
        Err(wrong) => sentence(StatusCode::BAD_REQUEST, wrong),
    }
}

async fn ask(shared: &Shared, about: About) -> Response {
    answer(shared, about).await.map_or_else(|refusal| refusal, json)
}

/// What the agent answers, as a document, or what is said where it does not.
pub(super) async fn answer(shared: &Shared, about: About) -> Result<String, Response> {
    let (answer, answered) = oneshot::channel();
    if shared.questions.send(Question { about, answer }).await.is_err() {
        return Err(unavailable());
    }
    let Ok(listing) = answered.await else {
        return Err(unavailable());
    };
    match tokio::task::spawn_blocking(listing).await {
        Ok(Ok(document)) => Ok(document),
        Ok(Err(wrong)) => Err(sentence(StatusCode::BAD_REQUEST, wrong)),
        Err(_) => Err(unavailable()),
    }
}

fn json(document: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

fn unavailable() -> Response {
    sentence(StatusCode::SERVICE_UNAVAILABLE, "portreeve is busy or stopping.")
}

/// What stands around the events, which are JSON already.
#[derive(Serialize)]
struct Around<'a> {
    schema: u32,
    host: &'a str,
    time: String,
    /// The newest event there is; null where there was none.
    last: Option<String>,
    /// How many that were asked for are no longer kept; null where that cannot be known.
    skipped: Option<u64>,
}

/// The newest events, or those after one.
pub(super) async fn events(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let query::Events { after, limit } = match query::Events::parse(query.as_deref()) {
        Ok(asked) => asked,
        Err(wrong) => return sentence(StatusCode::BAD_REQUEST, wrong),
    };
    let recent = &shared.recent;
    let from = after.as_deref().map(|id| recent.sequence(id));
    let row = match from {
        None => recent.newest(limit),
        Some(from) => recent.after(from.unwrap_or(0), limit),
    };
    let last = recent.last();
    let around = Around {
        schema: crate::output::events::SCHEMA,
        host: &shared.instance,
        time: format!("{:.9}", Timestamp::now()),
        last: (last > 0).then(|| recent.id(last)),
        // Of another run of the agent nobody knows how it went on.
        skipped: (from != Some(None)).then_some(row.skipped),
    };
    let written = tokio::task::spawn_blocking(move || {
        row.events
            .iter()
            .map(|told| Told::line(told))
            .collect::<Vec<_>>()
            .join(",")
    });
    let (Ok(events), Ok(mut document)) = (written.await, serde_json::to_string(&around)) else {
        return unavailable();
    };
    document.truncate(document.len().saturating_sub(1));
    document.push_str(",\"events\":[");
    document.push_str(&events);
    document.push_str("]}");
    json(document)
}

/// Has the configuration read again.
pub(super) async fn reload(State(shared): State<Shared>) -> Response {
    let Some(reloads) = &shared.reloads else {
        let text = "portreeve was not started with --web.enable-lifecycle.";
        return sentence(StatusCode::FORBIDDEN, text);
    };
    let (ask, answer) = oneshot::channel();
    if reloads.send(ask).await.is_err() {
        return unavailable();
    }
    match answer.await {
        Ok(Ok(())) => "portreeve has read its configuration again.\n".into_response(),
        Ok(Err(wrong)) => sentence(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{wrong}; the configuration that is in use stays"),
        ),
        Err(_) => unavailable(),
    }
}
