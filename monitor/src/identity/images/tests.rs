//! What becomes of a question, with a runtime that answers as it is told; a guest has containerd itself.

use std::os::unix::net::UnixListener;

use h2::server;
use http::{HeaderMap, Response};
use prost::bytes::Bytes;
use tempfile::TempDir;
use tokio::{net::UnixStream, runtime::Runtime};

use super::*;

/// `ContainerStatusResponse { status { image { image: "busybox:1" } image_ref: "sha256:77" } }`, as a message of gRPC.
const BUSYBOX: &[u8] = b"\0\0\0\0\x1a\x0a\x18\x42\x0b\x0a\x09busybox:1\x4a\x09sha256:77";

/// A runtime that answers each connection in turn, each with a message and a code; and hangs once there is no more.
fn runtime(answers: Vec<(&'static [u8], &'static str)>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cri.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let runtime = Runtime::new().unwrap();
        for (message, code) in answers {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            runtime.block_on(answer_one(stream, message, code));
        }
        thread::park();
        drop(listener);
    });
    (folder, path)
}

async fn answer_one(stream: std::os::unix::net::UnixStream, message: &'static [u8], code: &'static str) {
    let mut connection = server::handshake(UnixStream::from_std(stream).unwrap()).await.unwrap();
    let Some(Ok((request, mut respond))) = connection.accept().await else {
        return;
    };
    assert_eq!(request.uri().path(), "/runtime.v1.RuntimeService/ContainerStatus");
    let mut sending = respond.send_response(Response::new(()), false).unwrap();
    sending.send_data(Bytes::from_static(message), false).unwrap();
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())]);
    sending.send_trailers(trailers).unwrap();
    // Until the other side has gone.
    while connection.accept().await.is_some() {}
}

#[test]
fn a_container_has_the_image_that_the_runtime_names_and_it_is_asked_once() {
    let (_folder, socket) = runtime(vec![(BUSYBOX, "0"), (b"", "5")]);
    let mut images = Images::new(socket);
    for _ in 0..3 {
        assert_eq!(images.of("a").as_deref(), Some("busybox:1"));
        assert_eq!(images.of("of docker"), None);
    }
    assert!(!images.failed, "that it does not know one is an answer");
}

#[test]
fn a_runtime_that_hangs_is_waited_for_once_and_then_left_alone() {
    let (_folder, socket) = runtime(Vec::new());
    let mut images = Images::new(socket);
    let began = Instant::now();
    for id in ["a", "b", "c", "d"] {
        assert_eq!(images.of(id), None);
    }
    assert!(images.failed);
    assert!(began.elapsed() < 3 * LIMIT, "{:?}", began.elapsed());
    assert!(images.known.is_empty(), "it may answer later");
}

#[test]
fn what_is_no_answer_is_no_image() {
    let cut_short: &[u8] = &BUSYBOX[..12];
    for (message, code) in [(BUSYBOX, "13"), (BUSYBOX, "12"), (BUSYBOX, "none"), (cut_short, "0")] {
        let (_folder, socket) = runtime(vec![(message, code)]);
        let mut images = Images::new(socket);
        assert_eq!(images.of("a"), None, "{code}");
        assert!(images.failed, "{code}");
    }
    let mut images = Images::new("/nonexistent/cri.sock".into());
    assert_eq!(images.of("a"), None);
    assert!(images.failed);
}

#[test]
fn a_runtime_that_is_there_again_is_asked_again() {
    let (_folder, socket) = runtime(vec![(BUSYBOX, "14"), (BUSYBOX, "0")]);
    let mut images = Images::new(socket);
    assert_eq!(images.of("a"), None);
    assert_eq!(images.of("a"), None, "it is left alone for a while");
    images.silent_until = Some(Instant::now());
    assert_eq!(images.of("a").as_deref(), Some("busybox:1"));
    assert!(!images.failed);
}

#[test]
fn no_more_time_is_spent_in_a_span_than_it_has() {
    let mut budget = Budget::default();
    let now = Instant::now();
    assert!(!budget.is_spent(now));
    budget.spend(MAX_WAIT);
    assert!(budget.is_spent(now));
    assert!(!budget.is_spent(now + SPAN), "the next span has its own");
}
