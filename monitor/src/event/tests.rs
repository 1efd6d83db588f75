use std::{mem::offset_of, net::Ipv6Addr};

use monitor_common::{
    COMPONENT_MAX, FLAG_ERRNO_UNKNOWN, FLAG_EXE_DELETED, FLAG_EXE_MEMFD, FLAG_PATH_CUT, FLAG_UNCONFIRMED, FLAG_V6ONLY,
    PATH_MAX, Record,
};
use proptest::prelude::*;

use super::{
    decode::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP},
    *,
};

/// A record's bytes, built field by field: what the kernel side would write.
pub(crate) struct RecordBytes(pub Vec<u8>);

impl RecordBytes {
    /// `python3` (pid 812, root) listens on 0.0.0.0:1992.
    pub(crate) fn listen() -> Self {
        let mut record = Self(vec![0; Record::SIZE]);
        record.put(offset_of!(Record, time), &5_000_000_000u64.to_ne_bytes());
        record.put(offset_of!(Record, socket), &0xffff_8880_1234_5678u64.to_ne_bytes());
        record.put(offset_of!(Record, inode), &4711u64.to_ne_bytes());
        record.put(offset_of!(Record, cgroup), &77u64.to_ne_bytes());
        record.put(offset_of!(Record, start_time), &4_990_000_000u64.to_ne_bytes());
        record.put(offset_of!(Record, kind), &KIND_LISTEN.to_ne_bytes());
        record.put(offset_of!(Record, netns), &4_026_531_840u32.to_ne_bytes());
        record.put(offset_of!(Record, tgid), &812u32.to_ne_bytes());
        record.put(offset_of!(Record, tid), &813u32.to_ne_bytes());
        record.put(offset_of!(Record, backlog), &5u32.to_ne_bytes());
        record.put(offset_of!(Record, holder_tgid), &812u32.to_ne_bytes());
        record.put(offset_of!(Record, family), &AF_INET.to_ne_bytes());
        record.put(offset_of!(Record, protocol), &IPPROTO_TCP.to_ne_bytes());
        record.put(offset_of!(Record, port), &0x07c8u16.to_ne_bytes());
        record.put(offset_of!(Record, comm), b"python3\0junk");
        record.put(offset_of!(Record, thread), b"pool-1");
        record.put(offset_of!(Record, holder_comm), b"python3");
        record
    }

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Puts names behind it, as the kernel side does.
    pub(crate) fn with_path(mut self, names: &[u8]) -> Self {
        self.put(offset_of!(Record, exe_inode), &77u64.to_ne_bytes());
        self.put(
            offset_of!(Record, path_bytes),
            &u16::try_from(names.len()).unwrap().to_ne_bytes(),
        );
        self.0.extend(names);
        self
    }

    pub(crate) fn decode(&self) -> Event {
        Event::decode(&self.0).unwrap()
    }
}

#[test]
fn a_listen_is_decoded_field_by_field() {
    let event = RecordBytes::listen().decode();
    assert_eq!(event.kind, Kind::Listen);
    assert_eq!(event.time, 5_000_000_000);
    assert_eq!(event.outcome, Outcome::Succeeded);
    assert_eq!(event.socket.address, "0.0.0.0".parse::<IpAddr>().unwrap());
    assert_eq!(
        (event.socket.port, event.socket.inode, event.socket.cookie),
        (1992, 4711, None)
    );
    assert_eq!(event.socket.scope(), Scope::Wildcard);
    assert_eq!(event.socket.dual_stack(), None);
    assert_eq!((event.opener.tgid, event.opener.tid), (812, 813));
    assert_eq!(
        (event.opener.comm.as_str(), event.opener.thread.as_str()),
        ("python3", "pool-1")
    );
    assert_eq!(event.cgroup, 77);
}

#[test]
fn a_listen_that_fails_has_its_errno() {
    let mut record = RecordBytes::listen();
    record.put(offset_of!(Record, result), &(-98i32).to_ne_bytes());
    assert_eq!(record.decode().outcome, Outcome::Failed(Some(98)));
    record.put(offset_of!(Record, flags), &FLAG_UNCONFIRMED.to_ne_bytes());
    assert_eq!(record.decode().outcome, Outcome::Unconfirmed);
}

#[test]
fn a_record_cut_short_anywhere_is_an_error_that_says_how_short() {
    let whole = RecordBytes::listen().0;
    for length in 0..whole.len() {
        assert_eq!(Event::decode(&whole[..length]), Err(DecodeError::Short(length)));
    }
}

#[test]
fn bytes_behind_a_record_are_left_alone() {
    let mut record = RecordBytes::listen();
    record.0.extend([0xff; 24]);
    assert_eq!(record.decode(), RecordBytes::listen().decode());
}

#[test]
fn an_unknown_kind_is_data_and_an_unknown_family_or_protocol_an_error() {
    let mut record = RecordBytes::listen();
    record.put(offset_of!(Record, kind), &99u32.to_ne_bytes());
    assert_eq!(record.decode().kind, Kind::Unknown(99));
    record.put(offset_of!(Record, protocol), &132u16.to_ne_bytes());
    assert_eq!(Event::decode(&record.0), Err(DecodeError::Protocol(132)));
    record.put(offset_of!(Record, family), &1u16.to_ne_bytes());
    assert_eq!(Event::decode(&record.0), Err(DecodeError::Family(1)));
}

#[test]
fn an_ipv4_mapped_address_is_given_as_ipv4_and_a_v6_wildcard_serves_both_families() {
    let mut record = RecordBytes::listen();
    record.put(offset_of!(Record, family), &AF_INET6.to_ne_bytes());
    let event = record.decode();
    assert_eq!(
        (event.socket.scope(), event.socket.dual_stack()),
        (Scope::Wildcard, Some(true))
    );
    record.put(offset_of!(Record, flags), &FLAG_V6ONLY.to_ne_bytes());
    assert_eq!(record.decode().socket.dual_stack(), Some(false));
    record.put(
        offset_of!(Record, address),
        &"::ffff:127.0.0.1".parse::<Ipv6Addr>().unwrap().octets(),
    );
    let event = record.decode();
    assert_eq!(event.socket.address, "127.0.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(
        (event.socket.scope(), event.socket.family),
        (Scope::Loopback, Family::Ipv6)
    );
}

#[test]
fn a_name_that_fills_all_sixteen_bytes_or_is_not_utf8_is_kept() {
    let mut record = RecordBytes::listen();
    record.put(offset_of!(Record, comm), b"0123456789abcdef");
    assert_eq!(record.decode().opener.comm, "0123456789abcdef");
    record.put(offset_of!(Record, comm), b"\xffabc\0");
    assert_eq!(record.decode().opener.comm, "\u{fffd}abc");
}

fn path(record: &RecordBytes) -> Option<String> {
    record.decode().opener.executable.unwrap().path
}

#[test]
fn the_names_behind_a_record_are_the_path_from_the_file_up() {
    assert_eq!(
        path(&RecordBytes::listen().with_path(b"nc\0bin\0usr\0")).as_deref(),
        Some("/usr/bin/nc")
    );
    assert_eq!(
        path(&RecordBytes::listen().with_path(b"x\xff\0")).as_deref(),
        Some("/x\u{fffd}")
    );
    assert_eq!(
        RecordBytes::listen().decode().opener.executable,
        None,
        "a kernel thread"
    );
}

#[test]
fn names_that_are_not_whole_are_no_path() {
    assert_eq!(path(&RecordBytes::listen().with_path(b"")), None);
    assert_eq!(path(&RecordBytes::listen().with_path(b"nc\0bi")), None);
    let mut cut = RecordBytes::listen().with_path(b"nc\0bin\0");
    cut.put(offset_of!(Record, flags), &FLAG_PATH_CUT.to_ne_bytes());
    assert_eq!(path(&cut), None);
    let mut beyond = RecordBytes::listen().with_path(b"nc\0");
    beyond.put(offset_of!(Record, path_bytes), &4u16.to_ne_bytes());
    assert_eq!(path(&beyond), None);
    beyond.put(offset_of!(Record, path_bytes), &u16::MAX.to_ne_bytes());
    assert_eq!(path(&beyond), None);
}

#[test]
fn the_state_of_an_executable_is_that_of_its_file() {
    for (flags, state) in [
        (0, ExecutableState::File),
        (FLAG_EXE_DELETED, ExecutableState::Deleted),
        (FLAG_EXE_MEMFD, ExecutableState::Memfd),
    ] {
        let mut record = RecordBytes::listen().with_path(b"nc\0");
        record.put(offset_of!(Record, flags), &flags.to_ne_bytes());
        record.put(offset_of!(Record, exe_device), &0x0080_0001u32.to_ne_bytes());
        let executable = record.decode().opener.executable.unwrap();
        assert_eq!(
            (executable.state, executable.inode, executable.device),
            (state, 77, 0x0080_0001)
        );
    }
}

#[test]
fn a_connect_is_about_its_destination_and_an_accept_about_its_listener() {
    let mut record = RecordBytes::listen();
    record.put(offset_of!(Record, kind), &KIND_CONNECT.to_ne_bytes());
    record.put(offset_of!(Record, peer_port), &8080u16.to_ne_bytes());
    record.put(offset_of!(Record, peer_address), &[10, 0, 0, 5]);
    let peer = Endpoint {
        address: "10.0.0.5".parse().unwrap(),
        port: 8080,
    };
    let event = record.decode();
    assert_eq!(
        (event.peer, event.subject(), event.scope()),
        (Some(peer), peer, Scope::Address)
    );
    record.put(offset_of!(Record, kind), &KIND_ACCEPT.to_ne_bytes());
    let event = record.decode();
    assert_eq!(
        (event.peer, event.subject().port, event.scope()),
        (Some(peer), 1992, Scope::Wildcard)
    );
    assert_eq!(RecordBytes::listen().decode().peer, None);
}

#[test]
fn a_failure_without_a_reason_has_no_errno() {
    let mut record = RecordBytes::listen();
    record.put(offset_of!(Record, kind), &KIND_CONNECT.to_ne_bytes());
    record.put(offset_of!(Record, result), &(-125i32).to_ne_bytes());
    assert_eq!(record.decode().outcome, Outcome::Failed(Some(125)));
    record.put(offset_of!(Record, flags), &FLAG_ERRNO_UNKNOWN.to_ne_bytes());
    assert_eq!(record.decode().outcome, Outcome::Failed(None));
}

#[test]
fn a_bind_opens_a_listener_where_it_is_of_udp_and_succeeded() {
    let mut record = RecordBytes::listen();
    assert!(record.decode().opens_listener());
    record.put(offset_of!(Record, kind), &KIND_BIND.to_ne_bytes());
    assert!(!record.decode().opens_listener());
    record.put(offset_of!(Record, protocol), &IPPROTO_UDP.to_ne_bytes());
    assert!(record.decode().opens_listener());
    record.put(offset_of!(Record, result), &(-98i32).to_ne_bytes());
    assert!(!record.decode().opens_listener());
}

#[test]
fn what_fuzzing_found_worth_keeping_is_an_event_or_an_error() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/decode");
    let (mut kinds, mut errors) = (std::collections::HashSet::new(), 0);
    for entry in std::fs::read_dir(corpus).unwrap() {
        match Event::decode(&std::fs::read(entry.unwrap().path()).unwrap()) {
            Ok(event) => drop(kinds.insert(std::mem::discriminant(&event.kind))),
            Err(_) => errors += 1,
        }
    }
    // Five that are known, and what is not.
    assert_eq!(kinds.len(), 6);
    assert!(errors > 0);
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..Record::SIZE + PATH_MAX + 64)) {
        let _ = Event::decode(&bytes);
    }

    /// The fields that are checked are made right, so that all others are reached.
    #[test]
    fn any_record_of_a_known_family_and_protocol_is_an_event(
        mut bytes in prop::collection::vec(any::<u8>(), Record::SIZE..Record::SIZE + PATH_MAX + COMPONENT_MAX),
        v6 in any::<bool>(),
        udp in any::<bool>(),
        kind in 0u16..7,
        names in 0u16..600,
    ) {
        let mut record = RecordBytes(std::mem::take(&mut bytes));
        record.put(offset_of!(Record, family), &(if v6 { AF_INET6 } else { AF_INET }).to_ne_bytes());
        record.put(offset_of!(Record, protocol), &(if udp { IPPROTO_UDP } else { IPPROTO_TCP }).to_ne_bytes());
        record.put(offset_of!(Record, kind), &kind.to_ne_bytes());
        record.put(offset_of!(Record, path_bytes), &names.to_ne_bytes());
        let event = Event::decode(&record.0);
        prop_assert!(event.is_ok());
        let event = event.unwrap();
        prop_assert_eq!(event.peer.is_some(), kind == KIND_CONNECT || kind == KIND_ACCEPT);
        let port = event.socket.port.to_ne_bytes();
        prop_assert_eq!(&port[..], &record.0[offset_of!(Record, port)..][..2]);
        if let Some(path) = event.opener.executable.and_then(|executable| executable.path) {
            prop_assert!(path.starts_with('/') && names > 0);
        }
    }
}
