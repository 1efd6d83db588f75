//! Listening TCP sockets of one network namespace, by a dump of `NETLINK_SOCK_DIAG` (sock_diag(7)).
//!
//! One dump a family; the kernel answers in datagrams of many messages each. Formats: include/uapi/linux/netlink.h and
//! inet_diag.h.

use std::fmt;
use std::time::Duration;

use netlink_packet_core::{
    Emitable, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN,
    NetlinkBuffer, NetlinkHeader, Parseable,
};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DIAG_BY_FAMILY, TCP_LISTEN};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::{Family, ListeningSocket, each_once};

/// The kernel sizes its answers by the largest buffer it has seen, up to this (`netlink_recvmsg()`).
const BUFFER: usize = 32 * 1024;
/// Tries at a dump that a change of the table interrupted.
const TRIES: u32 = 4;
/// The kernel answers within the `recv` itself; a reader that waits longer has missed the end.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why a dump gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpError {
    /// This kernel cannot answer: INET_DIAG is not built in and its module is absent, or the socket family is not
    /// allowed. /proc/net can.
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
                f.write_str("this kernel has no INET_DIAG (module tcp_diag); /proc/net is read instead")
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
        let mut sockets = Vec::new();
        self.family(Family::Ipv4, port, &mut sockets)?;
        match self.family(Family::Ipv6, port, &mut sockets) {
            // IPv4 has answered, so it is IPv6 that the kernel lacks.
            Ok(()) | Err(DumpError::NoSockDiag) => {
                each_once(&mut sockets);
                Ok(sockets)
            }
            Err(error) => Err(error),
        }
    }

    fn family(&mut self, family: Family, port: u16, sockets: &mut Vec<ListeningSocket>) -> Result<(), DumpError> {
        let before = sockets.len();
        for _ in 0..TRIES {
            self.request(family, port)?;
            if self.answer(sockets)? == Dump::Steady {
                return Ok(());
            }
            sockets.truncate(before);
        }
        Err(DumpError::Unsteady)
    }

    fn request(&mut self, family: Family, port: u16) -> Result<(), DumpError> {
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
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
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

    fn answer(&mut self, sockets: &mut Vec<ListeningSocket>) -> Result<Dump, DumpError> {
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
            match read(datagram, self.sequence, sockets)? {
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
fn read(datagram: &[u8], sequence: u32, sockets: &mut Vec<ListeningSocket>) -> Result<Part, DumpError> {
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
            SOCK_DIAG_BY_FAMILY => sockets.extend(socket(payload)?),
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

/// The socket of one message; `None` where it is in another state by now.
fn socket(payload: &[u8]) -> Result<Option<ListeningSocket>, DumpError> {
    // Attributes behind the header are not needed, and are not parsed: newer kernels have more of them.
    let header = InetResponseHeader::parse(payload).map_err(|_| DumpError::Malformed)?;
    if header.state != TCP_LISTEN {
        return Ok(None);
    }
    Ok(Some(ListeningSocket {
        protocol: crate::event::Protocol::Tcp,
        v6only: None,
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
        backlog: Some(header.send_queue),
        interface: Some(header.socket_id.interface_id),
    }))
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

    fn parsed(datagram: &[u8]) -> (Result<Part, DumpError>, Vec<ListeningSocket>) {
        let mut sockets = Vec::new();
        (read(datagram, 7, &mut sockets), sockets)
    }

    #[test]
    fn note_23_a_listener_is_read_with_its_port_in_host_order() {
        let (part, sockets) = parsed(&message(SOCK_DIAG_BY_FAMILY, 2, 7, &listener(TCP_LISTEN)));
        assert_eq!(part, Ok(Part::More(Dump::Steady)));
        assert_eq!(
            sockets,
            [ListeningSocket {
                inode: 4242,
                family: Family::Ipv4,
                address: [127, 0, 0, 1].into(),
                port: 1992,
                uid: 1000,
                cookie: Some(0x1_0000_0002),
                backlog: Some(128),
                interface: Some(3),
            }]
        );
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
