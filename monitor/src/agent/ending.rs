//! The end: what takes its time goes on side by side, within one span for all.

use std::time::Duration;

use anyhow::Result;
use tokio::{
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout_at},
};

use super::pipeline::Pipeline;

/// How long the outputs may take to finish, all together.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is left for stdout where the others took all of it: it was written meanwhile, unless nobody reads.
const LAST_LINES: Duration = Duration::from_millis(250);

/// Has the outputs finish: HTTP, whoever is told of alerts, and the history; then, knowing what was accepted, the state and stdout.
pub(super) async fn finish(mut pipeline: Pipeline, mut servers: JoinSet<Result<()>>, kernel_log: JoinHandle<()>) {
    let until = Instant::now() + LAST_WORDS;
    pipeline.receivers().stop();
    let history = pipeline.part_with_history();
    let served = async {
        while servers.join_next().await.is_some() {}
        kernel_log.abort();
    };
    let told = async {
        while !pipeline.receivers().have_ended() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let (_, told, kept) = tokio::join!(
        timeout_at(until, served),
        timeout_at(until, told),
        timeout_at(until, spawn_blocking(|| history.finish())),
    );
    if told.is_err() {
        ::log::warn!("a receiver of alerts does not answer: the next agent tells it");
    }
    if kept.is_err() {
        ::log::error!("the disk of the history does not answer: the last listeners are not kept");
    }
    if let Some(writer) = pipeline.finish() {
        // On a thread of its own: a reader that has stopped reading would block it for ever.
        let written = spawn_blocking(|| writer.finish());
        match timeout_at(until.max(Instant::now() + LAST_LINES), written).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => ::log::error!("cannot write the last events: {error}"),
            _ => ::log::error!("the reader of stdout does not read: the last events are lost"),
        }
    }
}
