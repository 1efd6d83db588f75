//! The page at `/`.

use axum::{
    extract::State,
    response::{Html, IntoResponse as _, Response},
};

use super::{LISTENERS, Shared};

pub(super) async fn page(State(shared): State<Shared>) -> Response {
    let path = &shared.telemetry_path;
    Html(format!(
        "<!doctype html><html lang=\"en\"><title>portreeve</title><h1>portreeve</h1>\
         <p>What listens on this host: <a href=\"{LISTENERS}\">listeners</a>, <a href=\"{path}\">metrics</a></p></html>"
    ))
    .into_response()
}
