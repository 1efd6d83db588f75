//! The pages, for people: `/` has what listens now, `/ports/{port}` all that is known of a port.
//!
//! They are made of what the API answers, so that there is nothing on them that a program cannot ask for. The server writes
//! them whole, and they are useful without JavaScript; page.js fetches them again when something happens, and puts what is
//! new in its place. So what names the host's own is escaped in one place, by the templates.

mod alert;
mod assets;
mod documents;
mod health;
mod panel;
mod story;
mod table;
mod view;
mod visible;

use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse as _, Response},
};
use serde::de::DeserializeOwned;

pub(super) use self::assets::file;
use self::{
    alert::Notices,
    documents::{Alerts, Listeners, Moment, Port, Status},
    health::Health,
    panel::{Owner, Past, Registered, registered},
    story::Story,
    table::{Row, rows},
    view::View,
};
use super::{About, Shared, api, query, sentence};

/// What is unexpected, by name: more is a number and a link.
const UNEXPECTED: &str = "verdict=unexpected&sort=-since&limit=20";

#[derive(Template)]
#[template(path = "listeners.html")]
struct ListenersPage<'a> {
    around: Around<'a>,
    view: View,
    rows: Vec<Row>,
    total: usize,
    matched: usize,
    /// The place of the first and the last socket among those that match.
    shown: (usize, usize),
    unexpected: Vec<Row>,
    unexpected_sockets: usize,
    notices: Notices,
    stories: Vec<Story>,
    health: Health,
    telemetry_path: &'a str,
}

#[derive(Template)]
#[template(path = "port.html")]
struct PortPage<'a> {
    around: Around<'a>,
    port: u16,
    class: String,
    registered: Vec<Registered>,
    owners: Vec<Owner>,
    past: Option<Vec<Past>>,
    history_error: String,
    notices: Notices,
    stories: Vec<Story>,
}

/// What is the same on every page.
struct Around<'a> {
    /// The way to `/`.
    root: &'static str,
    host: &'a str,
    time: Moment,
    /// Tells one version of the files from another.
    mark: &'static str,
}

impl<'a> Around<'a> {
    fn new(root: &'static str, host: &'a str, time: Moment) -> Self {
        Self {
            root,
            host,
            time,
            mark: &assets::MARK,
        }
    }
}

pub(super) async fn listeners(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let view = View::parse(&query.unwrap_or_default());
    if let Some(port) = view.port_alone() {
        return (StatusCode::SEE_OTHER, [(header::LOCATION, format!("ports/{port}"))]).into_response();
    }
    page_of_listeners(&shared, view).await.unwrap_or_else(|refusal| refusal)
}

async fn page_of_listeners(shared: &Shared, mut view: View) -> Result<Response, Response> {
    let mut asked: Listeners = document(shared, About::Listeners(view.api())).await?;
    if asked.listeners.is_empty() && asked.matched > 0 {
        // Fewer listen than when somebody made this link.
        view.go_to_last(asked.matched);
        asked = document(shared, About::Listeners(view.api())).await?;
    }
    let unexpected: Listeners = document(shared, About::Listeners(UNEXPECTED.to_owned())).await?;
    let alerts: Alerts = document(shared, About::Alerts).await?;
    let status: Status = document(shared, About::Status).await?;
    let first = asked.offset + usize::from(!asked.listeners.is_empty());
    Ok(page(&ListenersPage {
        around: Around::new("./", &asked.host, asked.time),
        rows: rows(&asked.listeners, asked.time),
        total: asked.total,
        matched: asked.matched,
        shown: (first, asked.offset + asked.listeners.len()),
        unexpected: rows(&unexpected.listeners, asked.time),
        unexpected_sockets: unexpected.matched,
        notices: Notices::of(alerts, None),
        stories: story::newest(&shared.recent, None),
        health: Health::of(status),
        telemetry_path: shared.telemetry_path.trim_start_matches('/'),
        view,
    }))
}

pub(super) async fn port(State(shared): State<Shared>, Path(port): Path<String>) -> Response {
    match query::port(&port) {
        Ok(port) => page_of_port(&shared, port).await.unwrap_or_else(|refusal| refusal),
        Err(wrong) => sentence(StatusCode::BAD_REQUEST, wrong),
    }
}

async fn page_of_port(shared: &Shared, port: u16) -> Result<Response, Response> {
    let known: Port = document(shared, About::Port(port)).await?;
    let alerts: Alerts = document(shared, About::Alerts).await?;
    let owners = known.listeners.into_iter().map(|socket| Owner::of(socket, known.time));
    Ok(page(&PortPage {
        around: Around::new("../", &known.host, known.time),
        port: known.port,
        class: known.class,
        registered: registered(known.registrations),
        owners: owners.collect(),
        past: known
            .listened
            .map(|entries| entries.into_iter().map(Past::of).collect()),
        history_error: known.history_error.unwrap_or_default(),
        notices: Notices::of(alerts, Some(port)),
        stories: story::newest(&shared.recent, Some(port)),
    }))
}

/// A document of the API's.
async fn document<T: DeserializeOwned>(shared: &Shared, about: About) -> Result<T, Response> {
    let text = api::answer(shared, about).await?;
    serde_json::from_str(&text).map_err(|error| broken(&error))
}

fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => broken(&error),
    }
}

/// Agent and pages are one program, so this is a fault of that.
fn broken(error: &dyn std::fmt::Display) -> Response {
    let text = format!("portreeve cannot make this page: {error}; /api/v1/listeners has what listens");
    sentence(StatusCode::INTERNAL_SERVER_ERROR, text)
}

#[cfg(test)]
mod tests;
