//! The agent's metrics page.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What a page holds at most: far more than the agent's budget of series.
const PAGE: u64 = 64 << 20;

/// Reads the page.
///
/// # Errors
/// Where the agent does not answer in time, or not with 200.
pub fn page(address: SocketAddr, limit: Duration) -> Result<String> {
    let answer = ask(address, limit).with_context(|| format!("cannot scrape http://{address}/metrics"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, page)) if head.starts_with("HTTP/1.1 200 ") => Ok(page.to_owned()),
        _ => bail!(
            "http://{address}/metrics answered: {}",
            answer.lines().next().unwrap_or("nothing")
        ),
    }
}

fn ask(address: SocketAddr, limit: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(PAGE).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The value of a series without labels.
///
/// # Errors
/// Where the page has no such series, or its value is no number.
pub fn value(page: &str, name: &str) -> Result<f64> {
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
        .with_context(|| format!("the agent's metrics have no {name}"))
}

/// All series of a metric that counts things, added up: 0 where there is none.
pub fn sum(page: &str, name: &str) -> u64 {
    let counts = page.lines().filter_map(|line| {
        let labelled = line.strip_prefix(name)?.strip_prefix('{')?;
        labelled.rsplit_once("} ")?.1.trim().parse::<u64>().ok()
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::{sum, value};

    const PAGE: &str = "# HELP took What it took.\n# TYPE took gauge\ntook 0.25\ntook_longer 7\n\
                        listeners{port=\"22\",process=\"a} 9\"} 2\nlisteners{port=\"80\"} 3\nlisteners_ever{port=\"1\"} 100\n";

    #[test]
    fn a_series_is_found_by_its_whole_name() {
        assert_eq!(value(PAGE, "took").unwrap(), 0.25);
        let missing = value(PAGE, "listeners").unwrap_err().to_string();
        assert_eq!(missing, "the agent's metrics have no listeners");
    }

    #[test]
    fn the_series_of_one_metric_add_up_whatever_their_labels_hold() {
        assert_eq!(sum(PAGE, "listeners"), 5);
        assert_eq!(sum(PAGE, "took"), 0);
    }
}
