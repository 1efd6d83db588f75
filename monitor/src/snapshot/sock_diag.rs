//! Listening TCP sockets and bound UDP sockets of one network namespace, by dumps of `NETLINK_SOCK_DIAG` (sock_diag(7)).
//!
//! One dump a family and protocol; the kernel answers in datagrams of many messages each. Formats: include/uapi/linux/netlink.h and
//! inet_diag.h.

use std::fmt;
use std::time::Duration;

use netlink_packet_core::{
    Emitable, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN,
    NetlinkBuffer, NetlinkHeader, Parseable,
};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, INET_DIAG_SKV6ONLY, IPPROTO_TCP, IPPROTO_UDP, SOCK_DIAG_BY_FAMILY, TCP_CLOSE, TCP_LISTEN,
};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::{Family, ListeningSocket, Protocol, Rows, each_once};

/// The kernel sizes its answers by the largest buffer it has seen, up to this (`netlink_recvmsg()`).
const BUFFER: usize = 32 * 1024;
/// Tries at a dump that a change of the table interrupted.
const TRIES: u32 = 4;
/// The kernel answers within the `recv` itself; a reader that waits longer has missed the end.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why a dump gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpError {
    /// This kernel cannot answer: INET_DIAG is not built in and its module is absent (there is one for TCP and one for
    /// UDP), or the socket family is not allowed. /proc/net can.
    NoSockDiag,
    /// The table changed under each of several dumps.
    Unsteady,
    /// An answer was cut short, or is none.
    Malformed,
    /// A system call or the kernel's side of the dump failed.
    System(Errno),
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSockDiag => {
                f.write_str("this kernel has no INET_DIAG (modules tcp_diag and udp_diag); /proc/net is read instead")
            }
            Self::Unsteady => write!(
                f,
                "the table of listening sockets changed under {TRIES} dumps in a row; try again"
            ),
            Self::Malformed => f.write_str("the kernel's answer to a dump of listening sockets was cut short"),
            Self::System(errno) => write!(f, "cannot dump listening sockets by sock_diag: {errno}"),
        }
    }
}

impl std::error::Error for DumpError {}

impl From<Errno> for DumpError {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

/// A netlink socket, open for dumps of the network namespace in which it was made, wherever its thread goes later. It
/// keeps that namespace alive.
#[derive(Debug)]
pub struct Dumper {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Dumper {
    /// Opens the socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`DumpError::NoSockDiag`] where the kernel or a filter does not offer the family.
    pub fn new() -> Result<Self, DumpError> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )
        .map_err(|errno| match errno {
            Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => DumpError::NoSockDiag,
            errno => DumpError::System(errno),
        })?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(TIMEOUT))?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
            sequence: 0,
        })
    }

    /// All TCP sockets in state LISTEN, IPv4 first. A kernel without IPv6 has none of that family.
    ///
    /// # Errors
    /// See [`DumpError`].
    pub fn listening(&mut self) -> Result<Vec<ListeningSocket>, DumpError> {
        self.listening_at(0)
    }

    /// The same, of one `port` only; the kernel filters. 0 stands for every port.
    ///
    /// # Errors
    /// See [`DumpError`].
    pub fn listening_at(&mut self, port: u16) -> Result<Vec<ListeningSocket>, DumpError> {
        self.dump(Protocol::Tcp, port).map(|rows| rows.sockets)
    }

    /// TCP sockets in state LISTEN, or UDP sockets that are bound and have no peer, IPv4 first; of one `port`, or of all
    /// where it is 0.
    ///
    /// # Errors
    /// See [`DumpError`].
    pub fn dump(&mut self, protocol: Protocol, port: u16) -> Result<Rows, DumpError> {
        let mut rows = Rows::default();
        self.family(protocol, Family::Ipv4, port, &mut rows)?;
        match self.family(protocol, Family::Ipv6, port, &mut rows) {
            // IPv4 has answered, so it is IPv6 that the kernel lacks.
            Ok(()) | Err(DumpError::NoSockDiag) => {
                each_once(&mut rows.sockets);
                Ok(rows)
            }
            Err(error) => Err(error),
        }
    }

    fn family(&mut self, protocol: Protocol, family: Family, port: u16, rows: &mut Rows) -> Result<(), DumpError> {
        let (before, more) = (rows.sockets.len(), rows.more);
        for _ in 0..TRIES {
            self.request(protocol, family, port)?;
            if self.answer(protocol, rows)? == Dump::Steady {
                return Ok(());
            }
            rows.sockets.truncate(before);
            rows.more = more;
        }
        Err(DumpError::Unsteady)
    }

    fn request(&mut self, protocol: Protocol, family: Family, port: u16) -> Result<(), DumpError> {
        let mut socket_id = match family {
            Family::Ipv4 => SocketId::new_v4(),
            Family::Ipv6 => SocketId::new_v6(),
        };
        socket_id.source_port = port;
        let request = InetRequest {
            family: match family {
                Family::Ipv4 => AF_INET,
                Family::Ipv6 => AF_INET6,
            },
            protocol: match protocol {
                Protocol::Tcp => IPPROTO_TCP,
                Protocol::Udp => IPPROTO_UDP,
            },
            extensions: ExtensionFlags::empty(),
            states: match protocol {
                Protocol::Tcp => StateFlags::LISTEN,
                // What has no peer is in this state, bound or not; the table has only what is bound.
                Protocol::Udp => StateFlags::CLOSE,
            },
            socket_id,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        let length = header.buffer_len() + request.buffer_len();
        header.length = u32::try_from(length).map_err(|_| DumpError::Malformed)?;
        header.message_type = SOCK_DIAG_BY_FAMILY;
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let mut message = vec![0; length];
        let (head, body) = message.split_at_mut(header.buffer_len());
        header.emit(head);
        request.emit(body);
        rustix::net::sendto(
            &self.socket,
            &message,
            SendFlags::empty(),
            &SocketAddrNetlink::new(0, 0),
        )?;
        Ok(())
    }

    fn answer(&mut self, protocol: Protocol, rows: &mut Rows) -> Result<Dump, DumpError> {
        let mut dump = Dump::Steady;
        loop {
            let (received, length) = match rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC) {
                Ok(received) => received,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if length > received {
                return Err(DumpError::Malformed);
            }
            let datagram = self.buffer.get(..received).unwrap_or_default();
            match read(datagram, self.sequence, protocol, rows)? {
                Part::Last(Dump::Interrupted) => return Ok(Dump::Interrupted),
                Part::Last(Dump::Steady) => return Ok(dump),
                Part::More(Dump::Interrupted) => dump = Dump::Interrupted,
                Part::More(Dump::Steady) => {}
            }
        }
    }
}

/// Whether the table changed while it was dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dump {
    Steady,
    Interrupted,
}

/// One datagram of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    More(Dump),
    Last(Dump),
}

/// Reads the messages of one datagram; those of an earlier request (another `sequence`) are passed over.
fn read(datagram: &[u8], sequence: u32, protocol: Protocol, rows: &mut Rows) -> Result<Part, DumpError> {
    let mut dump = Dump::Steady;
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest).map_err(|_| DumpError::Malformed)?;
        let length = usize::try_from(message.length()).map_err(|_| DumpError::Malformed)?;
        let payload = rest.get(16..length).ok_or(DumpError::Malformed)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        if message.sequence_number() != sequence {
            continue;
        }
        if message.flags() & NLM_F_DUMP_INTR != 0 {
            dump = Dump::Interrupted;
        }
        match message.message_type() {
            SOCK_DIAG_BY_FAMILY => {
                if let Some(socket) = socket(payload, protocol)? {
                    rows.push(socket);
                }
            }
            // Both carry an errno: a dump that fails before its first socket ends with DONE, not with ERROR.
            NLMSG_DONE => return errno(payload).map_or(Ok(Part::Last(dump)), Err),
            NLMSG_ERROR => return errno(payload).map_or(Ok(Part::More(dump)), Err),
            NLMSG_OVERRUN => return Err(DumpError::Malformed),
            NLMSG_NOOP => {}
            _ => {}
        }
    }
    Ok(Part::More(dump))
}

/// Bytes of `struct inet_diag_msg`; attributes follow.
const HEADER: usize = 72;

/// The socket of one message; `None` where it is in another state by now.
fn socket(payload: &[u8], protocol: Protocol) -> Result<Option<ListeningSocket>, DumpError> {
    // Of the attributes one is wanted. The others are not parsed: newer kernels have more of them.
    let header = InetResponseHeader::parse(payload).map_err(|_| DumpError::Malformed)?;
    let id = &header.socket_id;
    let wanted = match protocol {
        Protocol::Tcp => header.state == TCP_LISTEN,
        Protocol::Udp => header.state == TCP_CLOSE && id.source_port != 0 && id.destination_port == 0,
    };
    if !wanted {
        return Ok(None);
    }
    let attributes = payload.get(HEADER..).unwrap_or_default();
    Ok(Some(ListeningSocket {
        protocol,
        inode: u64::from(header.inode),
        family: if header.family == AF_INET {
            Family::Ipv4
        } else {
            Family::Ipv6
        },
        address: header.socket_id.source_address,
        port: header.socket_id.source_port,
        uid: header.uid,
        cookie: Some(u64::from_ne_bytes(header.socket_id.cookie)),
        // For a listening socket the kernel puts `sk_max_ack_backlog` here.
        backlog: (protocol == Protocol::Tcp).then_some(header.send_queue),
        v6only: attribute(attributes, INET_DIAG_SKV6ONLY).and_then(|value| Some(*value.first()? != 0)),
    }))
}

/// The value of the first attribute of this kind. `struct nlattr`: its length with these four bytes, its kind, and the
/// value, filled up to four bytes.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some((&[a, b, c, d], _)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([c, d]) == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The error in front of the payload of ERROR and DONE: 0, or a negative errno. A DONE without one is fine.
fn errno(payload: &[u8]) -> Option<DumpError> {
    let code = payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    match code.checked_neg() {
        Some(0) => None,
        Some(code) => Some(match Errno::from_raw_os_error(code) {
            // No handler for the family, or none for TCP.
            Errno::NOENT | Errno::PROTONOSUPPORT | Errno::OPNOTSUPP => DumpError::NoSockDiag,
            errno => DumpError::System(errno),
        }),
        None => Some(DumpError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as the kernel writes it.
    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// `struct inet_diag_msg` of a socket on 127.0.0.1:1992, with an attribute that nobody knows behind it.
    fn listener(state: u8) -> Vec<u8> {
        let mut bytes = vec![AF_INET, state, 0, 0];
        bytes.extend([0x07, 0xC8, 0, 0, 127, 0, 0, 1]);
        bytes.extend([0; 12 + 16]);
        bytes.extend(3_u32.to_ne_bytes());
        bytes.extend(0x1_0000_0002_u64.to_ne_bytes());
        for number in [0_u32, 1, 128, 1000, 4242] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend([5, 0, 0xff, 0x7f, 9, 0, 0, 0]);
        bytes
    }

    fn v6only(value: u8) -> [u8; 8] {
        let ([a, b], [c, d]) = (5_u16.to_ne_bytes(), INET_DIAG_SKV6ONLY.to_ne_bytes());
        [a, b, c, d, value, 0, 0, 0]
    }

    fn parsed(datagram: &[u8]) -> (Result<Part, DumpError>, Vec<ListeningSocket>) {
        parsed_as(Protocol::Tcp, datagram)
    }

    fn parsed_as(protocol: Protocol, datagram: &[u8]) -> (Result<Part, DumpError>, Vec<ListeningSocket>) {
        let mut rows = Rows::default();
        (read(datagram, 7, protocol, &mut rows), rows.sockets)
    }

    #[test]
    fn note_23_a_listener_is_read_with_its_port_in_host_order() {
        let (part, sockets) = parsed(&message(SOCK_DIAG_BY_FAMILY, 2, 7, &listener(TCP_LISTEN)));
        assert_eq!(part, Ok(Part::More(Dump::Steady)));
        assert_eq!(
            sockets,
            [ListeningSocket {
                protocol: Protocol::Tcp,
                inode: 4242,
                family: Family::Ipv4,
                address: [127, 0, 0, 1].into(),
                port: 1992,
                uid: 1000,
                cookie: Some(0x1_0000_0002),
                backlog: Some(128),
                v6only: None,
            }]
        );
    }

    #[test]
    fn a_udp_socket_is_one_that_is_bound_and_has_no_peer() {
        let sockets = |payload: &[u8]| parsed_as(Protocol::Udp, &message(SOCK_DIAG_BY_FAMILY, 2, 7, payload)).1;
        let [bound] = &sockets(&listener(TCP_CLOSE))[..] else {
            panic!("one socket was sent")
        };
        assert_eq!((bound.protocol, bound.port, bound.backlog), (Protocol::Udp, 1992, None));
        // Connected (TCP_ESTABLISHED), with a peer's port, without a port.
        assert_eq!(sockets(&listener(1)), []);
        for (at, bytes) in [(6, [0, 53]), (4, [0, 0])] {
            let mut payload = listener(TCP_CLOSE);
            payload[at..at + 2].copy_from_slice(&bytes);
            assert_eq!(sockets(&payload), []);
        }
    }

    #[test]
    fn v6only_is_found_behind_other_attributes_and_not_in_what_is_cut_short() {
        let only = |attributes: &[u8]| {
            let payload = [&listener(TCP_LISTEN)[..], attributes].concat();
            let (_, sockets) = parsed(&message(SOCK_DIAG_BY_FAMILY, 2, 7, &payload));
            sockets[0].v6only
        };
        assert_eq!(only(&v6only(1)), Some(true));
        assert_eq!(only(&v6only(0)), Some(false));
        for cut in [&v6only(1)[..4], &[5, 0, 11], &[0; 8], &[0xff; 8], &[4, 0, 11, 0]] {
            assert_eq!(only(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn messages_of_another_request_and_of_other_states_are_passed_over() {
        let mut datagram = message(SOCK_DIAG_BY_FAMILY, 2, 6, &listener(TCP_LISTEN));
        datagram.extend(message(NLMSG_DONE, 2, 6, &0_i32.to_ne_bytes()));
        datagram.extend(message(SOCK_DIAG_BY_FAMILY, 2, 7, &listener(1)));
        assert_eq!(parsed(&datagram), (Ok(Part::More(Dump::Steady)), vec![]));
    }

    #[test]
    fn a_dump_ends_with_done_and_says_whether_it_was_interrupted() {
        let listener = message(SOCK_DIAG_BY_FAMILY, 2 | NLM_F_DUMP_INTR, 7, &listener(TCP_LISTEN));
        assert_eq!(parsed(&listener).0, Ok(Part::More(Dump::Interrupted)));
        assert_eq!(
            parsed(&message(NLMSG_DONE, 2, 7, &0_i32.to_ne_bytes())).0,
            Ok(Part::Last(Dump::Steady))
        );
        assert_eq!(
            parsed(&message(NLMSG_DONE, 2 | NLM_F_DUMP_INTR, 7, &[])).0,
            Ok(Part::Last(Dump::Interrupted))
        );
    }

    #[test]
    fn a_kernel_without_inet_diag_is_told_from_other_errors() {
        for kind in [NLMSG_ERROR, NLMSG_DONE] {
            let error = |code: i32| parsed(&message(kind, 0, 7, &code.to_ne_bytes())).0;
            assert_eq!(error(-2), Err(DumpError::NoSockDiag));
            assert_eq!(error(-1), Err(DumpError::System(Errno::PERM)));
            assert_eq!(error(i32::MIN), Err(DumpError::Malformed));
        }
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        let whole = message(SOCK_DIAG_BY_FAMILY, 2, 7, &listener(TCP_LISTEN));
        for length in [1, 15, 16, 40, whole.len() - 1] {
            assert_eq!(parsed(&whole[..length]).0, Err(DumpError::Malformed), "{length} bytes");
        }
        assert_eq!(
            parsed(&message(SOCK_DIAG_BY_FAMILY, 2, 7, &listener(TCP_LISTEN)[..71])).0,
            Err(DumpError::Malformed)
        );
        assert_eq!(parsed(&message(NLMSG_OVERRUN, 0, 7, &[])).0, Err(DumpError::Malformed));
    }
}
