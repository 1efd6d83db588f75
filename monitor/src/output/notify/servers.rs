//! Small receivers for tests: each answers the messages that come, one after the other, as it is told.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::endpoint::{Credentials, Endpoint, Url};

/// What a receiver does with a message.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// It says this.
    Text(String),
    /// It says nothing, and keeps the connection.
    Hang,
    /// It closes the connection before it read anything.
    Close,
    /// It says 200, and ten megabytes more.
    Large,
    /// It says 200, a byte at a time.
    Slow(Duration),
}

/// An answer with this status, and further headers.
pub(super) fn status(status: &str, headers: &str) -> Answer {
    Answer::Text(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
    ))
}

/// A message as it came.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) head: String,
    pub(super) body: String,
}

/// Starts a receiver; it is gone once it has given all its answers.
pub(super) fn serve(answers: Vec<Answer>) -> (SocketAddr, Receiver<Message>) {
    serve_at("127.0.0.1:0".parse().unwrap(), answers)
}

/// The same at this address.
pub(super) fn serve_at(address: SocketAddr, answers: Vec<Answer>) -> (SocketAddr, Receiver<Message>) {
    let listener = bind(address);
    let address = listener.local_addr().unwrap();
    let (messages, came) = channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for answer in answers {
            let Ok((stream, _)) = listener.accept() else { return };
            if let Some(stream) = give(stream, &answer, &messages) {
                kept.push(stream);
            }
        }
        // Who hangs does so until the test is over.
        if !kept.is_empty() {
            thread::park();
        }
    });
    (address, came)
}

/// The one that was there before may take a moment to go.
fn bind(address: SocketAddr) -> TcpListener {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::yield_now();
    }
}

/// Starts a receiver that speaks TLS, shows this certificate and says 200.
pub(super) fn serve_tls(certificate: &str) -> (SocketAddr, Receiver<Message>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let certificate = CertificateDer::from_pem_file(testdata(certificate)).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let (messages, came) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            give(StreamOwned::new(connection, stream), &status("200 OK", ""), &messages);
        }
    });
    (address, came)
}

/// Gives one answer. Gives back a connection that is to stay.
fn give<S: Read + Write>(mut stream: S, answer: &Answer, messages: &Sender<Message>) -> Option<S> {
    if matches!(answer, Answer::Close) {
        return None;
    }
    let message = read(&mut stream)?;
    let _ = messages.send(message);
    match answer {
        Answer::Text(text) => drop(stream.write_all(text.as_bytes())),
        Answer::Hang => return Some(stream),
        Answer::Close => {}
        Answer::Large => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n");
            let _ = stream.write_all(&vec![b'x'; 10 << 20]);
        }
        Answer::Slow(pause) => {
            for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" {
                if stream.write_all(&[*byte]).and_then(|()| stream.flush()).is_err() {
                    break;
                }
                thread::sleep(*pause);
            }
        }
    }
    let _ = stream.flush();
    None
}

/// Reads a message, as long as it says that it is.
fn read(stream: &mut impl Read) -> Option<Message> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).ok()?;
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let length = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.filter_map(|(_, value)| value.parse().ok()).next()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Message {
        head,
        body: String::from_utf8(body).ok()?,
    })
}

/// A file for these tests.
pub(super) fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/output/notify/testdata")
        .join(name)
}

/// An endpoint at this address.
pub(super) fn endpoint(scheme: &str, address: SocketAddr, timeout: Duration) -> Endpoint {
    Endpoint {
        name: format!("webhook/{address}"),
        url: Url::parse(&format!("{scheme}://{address}/hook?token=hush")).unwrap(),
        timeout,
        ca_file: None,
        credentials: Credentials::None,
    }
}

/// An address at which nobody listens.
pub(super) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Whether somebody came to this listener.
pub(super) fn was_called(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    let called: std::io::Result<(TcpStream, SocketAddr)> = listener.accept();
    called.is_ok()
}
