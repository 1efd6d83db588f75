//! A server on loopback that is all hosts of a fleet: `/host/N` is what the agent of host N is scraped for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::page::Page;

/// One host in so many has the unexpected listener open.
const ODD: u32 = 50;

/// Hosts are spread over so many clusters.
const CLUSTERS: u32 = 3;

/// Enough to answer while others wait for Prometheus to read.
const THREADS: usize = 4;

const LIMIT: Duration = Duration::from_secs(10);

/// What hosts serve.
#[derive(Debug)]
pub(super) struct Pages {
    /// Of most hosts.
    pub(super) usual: Page,
    /// Of those where something listens that should not.
    pub(super) odd: Page,
}

/// Starts the server, which ends with this process. Gives its address.
///
/// # Errors
/// Where it can have no port, or no thread.
pub(super) fn serve(pages: Pages) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot have a port for the fleet")?;
    let address = listener.local_addr().context("cannot learn the fleet's port")?;
    let (listener, pages, start) = (Arc::new(listener), Arc::new(pages), Instant::now());
    for _ in 0..THREADS {
        let (listener, pages) = (Arc::clone(&listener), Arc::clone(&pages));
        let answers = move || {
            for stream in listener.incoming().flatten() {
                // Whoever asked and went away is asked for nothing.
                let _ = answer(&stream, &pages, start.elapsed());
            }
        };
        thread::Builder::new()
            .spawn(answers)
            .context("cannot start a thread for the fleet")?;
    }
    Ok(address)
}

fn answer(mut stream: &TcpStream, pages: &Pages, running: Duration) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(stream);
    let (mut request, mut header) = (String::new(), String::new());
    reader.read_line(&mut request)?;
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let host = request
        .split(' ')
        .nth(1)
        .and_then(|path| path.strip_prefix("/host/")?.parse::<u32>().ok());
    let Some(host) = host else {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        return Ok(());
    };
    let page = if host.is_multiple_of(ODD) {
        &pages.odd
    } else {
        &pages.usual
    };
    let page = page.after(running.as_secs());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(page.as_bytes())?;
    Ok(())
}

/// The fleet for Prometheus's discovery by files.
pub(super) fn targets(hosts: u32, server: SocketAddr) -> Value {
    let target = |host: u32| {
        json!({
            "targets": [server.to_string()],
            "labels": {
                "__metrics_path__": format!("/host/{host}"),
                "instance": format!("host-{host}.example.com:19992"),
                "cluster": format!("cluster-{}", host % CLUSTERS),
            },
        })
    };
    (0..hosts).map(target).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};

    use super::{Pages, serve, targets};
    use crate::bench::fleet::page::Page;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn each_host_has_a_page_and_one_in_fifty_the_odd_one() {
        let address = serve(Pages {
            usual: Page::new("a 1\n"),
            odd: Page::new("b 1\n"),
        })
        .unwrap();
        assert!(get(address, "/host/49").ends_with("\r\n\r\na 1\n"));
        assert!(get(address, "/host/50").ends_with("\r\n\r\nb 1\n"));
        assert!(get(address, "/host/x").starts_with("HTTP/1.1 404 "));
    }

    #[test]
    fn no_two_hosts_have_the_same_labels() {
        let fleet = targets(4, SocketAddr::from(([127, 0, 0, 1], 9)));
        let labels: Vec<_> = fleet.as_array().unwrap().iter().map(|host| &host["labels"]).collect();
        assert_eq!(labels.len(), 4);
        assert_eq!(labels[3]["instance"], "host-3.example.com:19992");
        assert_eq!(labels[3]["cluster"], "cluster-0");
    }
}
