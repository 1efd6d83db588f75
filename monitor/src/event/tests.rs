use super::*;

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
