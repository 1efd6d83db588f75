//! Listening TCP sockets and bound UDP sockets of one network namespace, out of the text of /proc/PID/net/tcp, tcp6, udp
//! and udp6 (proc_pid_net(5)).

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::{Family, ListeningSocket, Protocol, Rows, each_once};

/// Bytes asked for at once. The kernel gives at most what one of its pages holds.
const CHUNK: usize = 16 * 1024;
/// `TCP_LISTEN` as the files show it (include/net/tcp_states.h).
const LISTEN: &str = "0A";
/// `TCP_CLOSE`, the state of a UDP socket without a peer.
const CLOSE: &str = "07";

/// The listening TCP sockets of `directory/tcp` and `directory/tcp6`.
///
/// # Errors
/// As for [`sockets`].
pub fn listening(directory: &Path) -> io::Result<Rows> {
    sockets(directory, Protocol::Tcp)
}

/// Reads the two files of a protocol, where `directory` is a `net` directory of /proc: that of any process of the
/// namespace. Cookie, backlog and IPV6_V6ONLY are not in these files.
///
/// # Errors
/// Where the file of IPv4 cannot be read. A missing one of IPv6 is a namespace without it.
pub fn sockets(directory: &Path, protocol: Protocol) -> io::Result<Rows> {
    let (ipv4, ipv6) = match protocol {
        Protocol::Tcp => ("tcp", "tcp6"),
        Protocol::Udp => ("udp", "udp6"),
    };
    let mut rows = Rows::default();
    read(File::open(directory.join(ipv4))?, protocol, Family::Ipv4, &mut rows)?;
    match File::open(directory.join(ipv6)) {
        Ok(file) => read(file, protocol, Family::Ipv6, &mut rows)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    each_once(&mut rows.sockets);
    Ok(rows)
}

/// Reads one file; of TCP up to where the listening sockets end: the kernel shows them before all others
/// (net/ipv4/tcp_ipv4.c, `tcp_get_idx()`), and a busy host has many others.
fn read(mut file: impl Read, protocol: Protocol, family: Family, rows: &mut Rows) -> io::Result<()> {
    let mut text: Vec<u8> = Vec::with_capacity(CHUNK);
    let mut header = true;
    loop {
        let kept = text.len();
        text.resize(kept + CHUNK, 0);
        let read = match file.read(text.get_mut(kept..).unwrap_or_default()) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                text.truncate(kept);
                continue;
            }
            Err(error) => return Err(error),
        };
        text.truncate(kept + read);
        if read == 0 {
            break;
        }
        let Some(end) = text.iter().rposition(|&byte| byte == b'\n') else {
            continue;
        };
        let mut listening = 0_u64;
        let mut other = 0_u64;
        for line in text.get(..end).unwrap_or_default().split(|&byte| byte == b'\n') {
            if std::mem::take(&mut header) {
                continue;
            }
            match row(line, protocol, family) {
                Row::Listening(socket) => {
                    rows.push(socket);
                    listening += 1;
                }
                Row::Other => other += 1,
                Row::Unread => rows.unread += 1,
            }
        }
        text.drain(..=end);
        if protocol == Protocol::Tcp && listening == 0 && other > 0 {
            return Ok(());
        }
    }
    if !text.is_empty() && !header {
        match row(&text, protocol, family) {
            Row::Listening(socket) => rows.push(socket),
            Row::Other => {}
            Row::Unread => rows.unread += 1,
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Row {
    Listening(ListeningSocket),
    Other,
    Unread,
}

/// One line below the header:
/// `sl: local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`.
fn row(line: &[u8], protocol: Protocol, family: Family) -> Row {
    let Ok(line) = std::str::from_utf8(line) else {
        return Row::Unread;
    };
    let mut fields = line.split_ascii_whitespace();
    let (Some(local), Some(remote), Some(state)) = (fields.nth(1), fields.next(), fields.next()) else {
        return Row::Unread;
    };
    let wanted = match protocol {
        Protocol::Tcp => state == LISTEN,
        Protocol::Udp => state == CLOSE && remote.ends_with(":0000") && !local.ends_with(":0000"),
    };
    if !wanted {
        return if state.len() == 2 { Row::Other } else { Row::Unread };
    }
    let (Some(uid), Some(inode)) = (fields.nth(3), fields.nth(1)) else {
        return Row::Unread;
    };
    // The inode is followed by more fields: a line that ends with it may have lost digits.
    if fields.next().is_none() {
        return Row::Unread;
    }
    let (Some((address, port)), Ok(uid), Ok(inode)) = (local_end(local, family), uid.parse(), inode.parse()) else {
        return Row::Unread;
    };
    Row::Listening(ListeningSocket {
        protocol,
        inode,
        family,
        address,
        port,
        uid,
        cookie: None,
        backlog: None,
        v6only: None,
    })
}

/// `0100007F:07C8`: the address as words of 32 bits, each printed as a number in the machine's byte order; the port in
/// host order.
fn local_end(text: &str, family: Family) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok().filter(|_| port.len() == 4)?;
    let address = match family {
        Family::Ipv4 => Ipv4Addr::from(words::<4>(address)?).into(),
        Family::Ipv6 => Ipv6Addr::from(words::<16>(address)?).into(),
    };
    Some((address, port))
}

fn words<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != 2 * BYTES {
        return None;
    }
    let mut address = [0; BYTES];
    for (at, bytes) in address.chunks_exact_mut(4).enumerate() {
        let word = u32::from_str_radix(text.get(8 * at..8 * at + 8)?, 16).ok()?;
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    // As a little-endian machine prints it: what `read` decodes on this one.
    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n   \
0: 0100007F:07C8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 18342 1 0000000012345678 100 0 0 10 0                     \n   \
1: 00000000:0016 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 0 1 0000000012345678 100 0 0 10 0                     \n   \
2: 0100007F:07C8 0100007F:C350 01 00000000:00000000 02:00000A5E 00000000  1000        0 18350 2 0000000012345678 20 4 30 10 -1                    \n   \
3: 0100007F:C351 0100007F:07C8 06 00000000:00000000 03:00000A5E 00000000     0        0 0 3 0000000012345678                                      \n";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
0: 00000000000000000000000001000000:07C8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 777 1 0000000012345678 100 0 0 10 0\n   \
1: B80D0120000000000000000067450000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 778 1 0000000012345678 100 0 0 10 0\n";

    fn rows(text: &str, family: Family) -> Rows {
        let mut rows = Rows::default();
        read(text.as_bytes(), Protocol::Tcp, family, &mut rows).unwrap();
        rows
    }

    fn brief(rows: &Rows) -> Vec<(String, u16, u32, u64)> {
        rows.sockets
            .iter()
            .map(|row| (row.address.to_string(), row.port, row.uid, row.inode))
            .collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn note_23_addresses_and_ports_come_out_in_their_order() {
        let tcp = rows(TCP, Family::Ipv4);
        assert_eq!(
            brief(&tcp),
            [
                ("127.0.0.1".to_owned(), 1992, 1000, 18_342),
                ("0.0.0.0".to_owned(), 22, 0, 0)
            ]
        );
        assert_eq!(tcp.unread, 0);
        let tcp6 = rows(TCP6, Family::Ipv6);
        assert_eq!(
            brief(&tcp6),
            [
                ("::1".to_owned(), 1992, 33, 777),
                ("2001:db8::4567".to_owned(), 80, 33, 778)
            ]
        );
        assert_eq!(tcp6.unread, 0);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn of_udp_the_bound_sockets_without_a_peer_are_read_wherever_they_stand() {
        const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n  \
123: 0100007F:C351 0100007F:0035 01 00000000:00000000 00:00000000 00000000  1000        0 18001 2 0000000012345678 0         \n  \
321: 0100007F:07C8 0100007F:0035 07 00000000:00000000 00:00000000 00000000  1000        0 18002 2 0000000012345678 0         \n  \
432: 00000000:0000 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 18003 2 0000000012345678 0         \n  \
543: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 18004 2 0000000012345678 0         \n";
        /// One line a read, so that the first reads give nothing.
        struct Lines<'a>(std::str::SplitInclusive<'a, char>);
        impl Read for Lines<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let line = self.0.next().unwrap_or_default();
                buffer[..line.len()].copy_from_slice(line.as_bytes());
                Ok(line.len())
            }
        }
        let mut rows = Rows::default();
        read(Lines(UDP.split_inclusive('\n')), Protocol::Udp, Family::Ipv4, &mut rows).unwrap();
        assert_eq!(brief(&rows), [("127.0.0.53".to_owned(), 53, 101, 18_004)]);
        assert_eq!((rows.unread, rows.sockets[0].protocol), (0, Protocol::Udp));
    }

    #[test]
    fn lines_cut_short_are_counted_and_the_others_kept() {
        let row = TCP.lines().nth(1).unwrap();
        for end in [5, 30, 34, 92, 97] {
            let text = format!("header\n{}\n{row}\n", &row[..end]);
            let rows = rows(&text, Family::Ipv4);
            assert_eq!((rows.sockets.len(), rows.unread), (1, 1), "{}", &row[..end]);
        }
        // The inode of a line that ends inside it would be another socket's.
        let inode_cut = row.find("18342").unwrap() + 3;
        let cut = rows(&format!("header\n{}", &row[..inode_cut]), Family::Ipv4);
        assert_eq!((cut.sockets.len(), cut.unread), (0, 1));
    }

    #[test]
    fn a_line_of_the_other_family_or_of_bytes_is_not_read() {
        assert_eq!(rows(TCP, Family::Ipv6).unread, 2);
        assert_eq!(row(b"\xff\xfe", Protocol::Tcp, Family::Ipv4), Row::Unread);
        assert_eq!(rows("", Family::Ipv4), Rows::default());
        assert_eq!(rows("header", Family::Ipv4), Rows::default());
        assert_eq!(rows("header\n", Family::Ipv4), Rows::default());
    }

    #[test]
    fn reading_stops_where_the_listening_sockets_end() {
        /// Gives one line a read, as a file of /proc gives one page.
        struct Lines<'a>(std::str::Lines<'a>, u32);
        impl Read for Lines<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let Some(line) = self.0.next() else { return Ok(0) };
                self.1 += 1;
                buffer[..line.len()].copy_from_slice(line.as_bytes());
                buffer[line.len()] = b'\n';
                Ok(line.len() + 1)
            }
        }
        let mut lines = Lines(TCP.lines(), 0);
        let mut rows = Rows::default();
        read(&mut lines, Protocol::Tcp, Family::Ipv4, &mut rows).unwrap();
        assert_eq!(
            (rows.sockets.len(), lines.1),
            (2, 4),
            "the header, two listeners, and one connection"
        );
    }

    #[test]
    fn a_namespace_without_ipv6_has_no_tcp6() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(listening(directory.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(directory.path().join("tcp"), TCP).unwrap();
        assert_eq!(listening(directory.path()).unwrap().sockets.len(), 2);
    }
}
