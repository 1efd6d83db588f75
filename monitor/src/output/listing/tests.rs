use super::*;
use crate::{
    identity::{Container, Pod, Runtime},
    output::samples::{listen_at, python, report, report_of},
};

/// python3 on 1992, sshd on [::1]:22, and a container's program on 6379.
fn listeners() -> Vec<(Event, Report)> {
    let (python3, mut sshd, mut redis) = (
        listen_at("0.0.0.0", 1992),
        listen_at("::1", 22),
        listen_at("10.0.0.7", 6379),
    );
    (sshd.opener.comm, sshd.opener.uid, sshd.time) = ("sshd".to_owned(), 0, python3.time + 7);
    (redis.opener.comm, redis.socket.netns) = ("redis-server".to_owned(), 4_026_532_000);
    let of_sshd = crate::identity::ProcessIdentity {
        exe: Some("/usr/sbin/sshd".to_owned()),
        unit: Some("ssh.service".to_owned()),
        ..python()
    };
    let of_redis = crate::identity::ProcessIdentity {
        exe: Some("/usr/local/bin/redis-server".to_owned()),
        unit: None,
        user: Some("redis".to_owned()),
        container: Some(Container {
            runtime: Runtime::Containerd,
            id: "f".repeat(64),
            pod_uid: None,
            pod: Some(Pod {
                name: "cache-0".to_owned(),
                namespace: "shop".to_owned(),
            }),
            image: Some("registry.example.com/shop/cache:7".to_owned()),
        }),
        ..python()
    };
    let reports = [report(&python3), report_of(&sshd, of_sshd), {
        let mut report = report_of(&redis, of_redis);
        report.host_netns = false;
        report
    }];
    [python3, sshd, redis].into_iter().zip(reports).collect()
}

fn page(query: &str) -> (Vec<u16>, usize, usize) {
    let listeners = listeners();
    let selection = Selection::parse(query, Registry::embedded()).unwrap();
    let page = selection.page(listeners.iter().map(|(event, report)| (event, report, &[][..])));
    let ports = page.items.iter().map(|(event, ..)| event.socket.port).collect();
    (ports, page.matched, page.total)
}

fn ports(query: &str) -> Vec<u16> {
    page(query).0
}

#[test]
fn each_kind_of_filter_finds_its_own() {
    for (query, expected) in [
        ("", &[22, 1992, 6379][..]),
        ("port=1990-1994", &[1992]),
        ("text=stun", &[1992]),
        ("text=19+python", &[1992]),
        ("text=92", &[]),
        ("text=SHOP&text=redis", &[6379]),
        ("text=shop+sshd", &[]),
        ("text=10.0.0.7", &[6379]),
        ("port=ssh,stun-p3", &[22, 1992]),
        ("port=22&port=6379", &[22, 6379]),
        ("name=IPSEND", &[1992]),
        ("name=redis", &[6379]),
        ("process=ssh%2A", &[22]),
        ("process=stun-p3", &[]),
        ("user=redis", &[6379]),
        ("user=0&port=22", &[22]),
        ("unit=ssh.service", &[22]),
        ("container=cache-0", &[6379]),
        ("container=*shop/cache:7", &[6379]),
        ("container=ffff", &[6379]),
        ("container=docker", &[]),
        ("scope=loopback,address", &[22, 6379]),
        ("verdict=unexpected", &[1992]),
        ("protocol=udp", &[]),
        ("netns=other", &[6379]),
        ("netns=4026532000", &[6379]),
        ("netns=host&verdict=unruled", &[22]),
        ("name=&port=&verdict=", &[22, 1992, 6379]),
    ] {
        assert_eq!(ports(query), expected, "{query}");
    }
}

#[test]
fn orders_go_both_ways_and_pages_neither_repeat_nor_leave_out() {
    for (query, expected) in [
        ("sort=-port", [6379, 1992, 22]),
        ("sort=verdict", [1992, 22, 6379]),
        ("sort=process", [1992, 6379, 22]),
        ("sort=-process", [22, 6379, 1992]),
        ("sort=container", [6379, 22, 1992]),
        ("sort=-since", [22, 1992, 6379]),
        ("sort=scope", [6379, 22, 1992]),
    ] {
        assert_eq!(ports(query), expected, "{query}");
    }
    assert_eq!(page("limit=2"), (vec![22, 1992], 3, 3));
    assert_eq!(page("limit=2&offset=2"), (vec![6379], 3, 3));
    assert_eq!(page("limit=0&verdict=unruled"), (vec![], 2, 3));
    assert_eq!(page("offset=9"), (vec![], 3, 3));
}

#[test]
fn what_makes_no_sense_is_refused_in_one_sentence() {
    for (query, sentence) in [
        ("prot=tcp", "`prot` is no parameter here; there are port, text,"),
        ("port=sssh", "port: "),
        ("verdict=bad", "verdict: `bad` is none of expected, unexpected, unruled"),
        ("sort=up", "sort: `up` is no order; write one of port,"),
        ("limit=-1", "limit: `-1` is no number from 0 on"),
        ("netns=all", "netns: `all` is no namespace"),
        ("%1b=1", "`\\u{1b}` is no parameter"),
    ] {
        let error = Selection::parse(query, Registry::embedded()).unwrap_err();
        assert!(error.starts_with(sentence), "{error}");
    }
}
