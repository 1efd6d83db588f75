//! Records of the kernel side become events.

use std::{
    fmt,
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use monitor_common::{
    FLAG_AUTOMATIC, FLAG_CONNECTED, FLAG_ERRNO_UNKNOWN, FLAG_EXE_DELETED, FLAG_EXE_MEMFD, FLAG_EXISTING,
    FLAG_KERNEL_SOCKET, FLAG_KERNEL_THREAD, FLAG_LATE, FLAG_LISTENED, FLAG_MPTCP, FLAG_PATH_CUT, FLAG_REFUSED,
    FLAG_REUSEPORT, FLAG_UNCONFIRMED, FLAG_V6ONLY, Record,
};

use super::{
    Actor, Endpoint, Event, Executable, ExecutableState, Family, Kind, Outcome, Protocol, Socket, SocketKey, Source,
};

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than a record has.
    Short(usize),
    /// A family that no hook reports.
    Family(u16),
    /// A protocol that no hook reports.
    Protocol(u16),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(length) => write!(f, "a record of {length} bytes is shorter than {}", Record::SIZE),
            Self::Family(family) => write!(f, "a record of the unknown address family {family}"),
            Self::Protocol(protocol) => write!(f, "a record of the unknown protocol {protocol}"),
        }
    }
}

impl std::error::Error for DecodeError {}

pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;
pub(super) const IPPROTO_TCP: u16 = 6;
pub(super) const IPPROTO_UDP: u16 = 17;

/// Takes `N` bytes at a field's offset. `None` where the record is shorter.
fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

macro_rules! read {
    ($bytes:ident, $type:ty, $field:ident) => {
        <$type>::from_ne_bytes(
            take(Record::fits($bytes)?, offset_of!(Record, $field)).ok_or(DecodeError::Short($bytes.len()))?,
        )
    };
}

/// Checks the length before any field is taken.
trait Fits {
    fn fits(bytes: &[u8]) -> Result<&[u8], DecodeError>;
}

impl Fits for Record {
    fn fits(bytes: &[u8]) -> Result<&[u8], DecodeError> {
        if bytes.len() < Self::SIZE {
            Err(DecodeError::Short(bytes.len()))
        } else {
            Ok(bytes)
        }
    }
}

/// A name of the kernel's: up to the first NUL, whatever lies behind it.
fn name(bytes: [u8; 16]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn address_of(family: Family, bytes: [u8; 16]) -> IpAddr {
    match family {
        Family::Ipv4 => {
            let [a, b, c, d, ..] = bytes;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        // `::ffff:a.b.c.d` is IPv4 to everyone who reads it.
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
    }
}

/// The path that follows a record: names from the file up to the root, each with its NUL. `None` where there is none or
/// it is not whole.
fn path_of(bytes: &[u8], length: usize) -> Option<String> {
    let names = bytes
        .get(Record::SIZE..Record::SIZE.checked_add(length)?)?
        .strip_suffix(&[0])?;
    let mut path = String::new();
    for name in names.rsplit(|byte| *byte == 0) {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    Some(path)
}

impl Event {
    /// Decodes a record of the ring, with the names that follow it. Bytes behind these are left alone; a kind that is
    /// not known is data.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let sixteen = |at| take::<16>(bytes, at).ok_or(DecodeError::Short(bytes.len()));
        let flags = read!(bytes, u32, flags);
        let has = |flag| flags & flag != 0;
        let family = match read!(bytes, u16, family) {
            AF_INET => Family::Ipv4,
            AF_INET6 => Family::Ipv6,
            other => return Err(DecodeError::Family(other)),
        };
        let protocol = match read!(bytes, u16, protocol) {
            IPPROTO_TCP => Protocol::Tcp,
            IPPROTO_UDP => Protocol::Udp,
            other => return Err(DecodeError::Protocol(other)),
        };
        let kind = read!(bytes, u16, kind).into();
        let outcome = match read!(bytes, i32, result) {
            // An end carries the flags of its listen; that it ended is certain.
            _ if kind == Kind::Unlisten => Outcome::Succeeded,
            _ if has(FLAG_UNCONFIRMED) => Outcome::Unconfirmed,
            ..0 if has(FLAG_ERRNO_UNKNOWN) => Outcome::Failed(None),
            error @ ..0 => Outcome::Failed(Some(error.saturating_neg())),
            0.. => Outcome::Succeeded,
        };
        let peer = match kind {
            Kind::Connect | Kind::Accept => Some(Endpoint {
                address: address_of(family, sixteen(offset_of!(Record, peer_address))?),
                port: read!(bytes, u16, peer_port),
            }),
            _ => None,
        };
        let exe_inode = read!(bytes, u64, exe_inode);
        let path_bytes = usize::from(read!(bytes, u16, path_bytes));
        let executable = Executable {
            inode: exe_inode,
            device: read!(bytes, u32, exe_device),
            path: path_of(bytes, path_bytes).filter(|_| !has(FLAG_PATH_CUT)),
            state: match (has(FLAG_EXE_MEMFD), has(FLAG_EXE_DELETED)) {
                (true, _) => ExecutableState::Memfd,
                (false, true) => ExecutableState::Deleted,
                (false, false) => ExecutableState::File,
            },
        };
        let cookie = read!(bytes, u64, cookie);
        let opener = Actor {
            tgid: read!(bytes, u32, tgid),
            tid: read!(bytes, u32, tid),
            uid: read!(bytes, u32, uid),
            start_time: read!(bytes, u64, start_time),
            comm: name(sixteen(offset_of!(Record, comm))?),
            thread: name(sixteen(offset_of!(Record, thread))?),
            kernel_thread: has(FLAG_KERNEL_THREAD),
            // Of a thread of the kernel it is that of the process whose memory it works in.
            executable: (exe_inode != 0 && !has(FLAG_KERNEL_THREAD)).then_some(executable),
        };
        Ok(Self {
            kind,
            time: read!(bytes, u64, time),
            opened: read!(bytes, u64, opened),
            outcome,
            peer,
            socket: Socket {
                key: SocketKey(read!(bytes, u64, socket)),
                inode: read!(bytes, u64, inode),
                cookie: (cookie != 0).then_some(cookie),
                netns: read!(bytes, u32, netns),
                family,
                protocol,
                address: address_of(family, sixteen(offset_of!(Record, address))?),
                port: read!(bytes, u16, port),
                automatic: has(FLAG_AUTOMATIC),
                v6only: has(FLAG_V6ONLY),
                reuseport: has(FLAG_REUSEPORT),
                mptcp: has(FLAG_MPTCP),
                kernel: has(FLAG_KERNEL_SOCKET),
                backlog: read!(bytes, u32, backlog),
            },
            holder: if kind == Kind::Unlisten {
                (
                    read!(bytes, u32, holder_tgid),
                    name(sixteen(offset_of!(Record, holder_comm))?),
                )
            } else {
                (opener.tgid, opener.comm.clone())
            },
            opener,
            cgroup: read!(bytes, u64, cgroup),
            listened: has(FLAG_LISTENED) || !has(FLAG_UNCONFIRMED),
            refused: has(FLAG_REFUSED),
            connected: has(FLAG_CONNECTED),
            late: has(FLAG_LATE),
            source: if has(FLAG_EXISTING) {
                Source::OpenFiles
            } else {
                Source::Hook
            },
        })
    }
}
