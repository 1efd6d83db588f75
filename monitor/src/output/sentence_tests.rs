use super::*;
use crate::{
    identity::ProcessIdentity,
    output::samples::{end_of, listen, listen_at, listen_on, report, report_of},
};

/// `nc`, run by alice or by a user without a name.
fn nc(user: Option<&str>) -> ProcessIdentity {
    ProcessIdentity {
        exe: Some("/usr/bin/nc".to_owned()),
        user: user.map(str::to_owned),
        ..ProcessIdentity::default()
    }
}

fn summary_for(mut event: Event, user: Option<&str>) -> String {
    event.opener.uid = 1000;
    summary(&event, &report_of(&event, nc(user)), "web-7")
}

const BOTH: &str = "Registered: stun-p3 (dead Cisco STUN), \
                    ipsendmsg (\"This entry records an unassigned but widespread use\").";

#[test]
fn the_summary_says_who_opened_what_where_what_it_was_registered_for_and_how_to_check() {
    assert_eq!(
        summary_for(listen(), Some("alice")),
        format!("nc (uid 1000 alice) opened 1992/tcp on 0.0.0.0 on web-7. {BOTH} Check: ss -ltnp 'sport = :1992'")
    );
}

#[test]
fn unit_container_and_package_are_named_where_they_are_known() {
    use crate::identity::{Pod, Runtime};
    let container = |pod| Container {
        runtime: Runtime::Containerd,
        id: "1f0c".repeat(16),
        pod_uid: None,
        pod,
        image: None,
    };
    let pod = Pod {
        name: "web-0".to_owned(),
        namespace: "shop".to_owned(),
    };
    for (process, expected) in [
        (
            ProcessIdentity {
                unit: Some("user@1000.service".to_owned()),
                package: Some("netcat-openbsd".to_owned()),
                ..nc(None)
            },
            " on web-7, unit user@1000.service, package netcat-openbsd. Registered: ",
        ),
        (
            ProcessIdentity {
                container: Some(container(None)),
                ..nc(None)
            },
            " on web-7, container containerd 1f0c1f0c1f0c. Registered: ",
        ),
        (
            ProcessIdentity {
                container: Some(container(Some(pod))),
                ..nc(None)
            },
            " on web-7, container of the pod shop/web-0. Registered: ",
        ),
    ] {
        let text = summary(&listen(), &report_of(&listen(), process), "web-7");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn another_namespace_is_named_and_the_check_enters_it() {
    let mut event = listen();
    event.opener.uid = 1000;
    let report = Report {
        host_netns: false,
        ..report_of(&event, nc(None))
    };
    let text = summary(&event, &report, "web-7");
    let namespace = format!(
        "on web-7, in the network namespace {} and not the host's. ",
        event.socket.netns
    );
    assert!(text.contains(&namespace), "{text}");
    assert!(
        text.ends_with("Check: nsenter -t 812 -n ss -ltnp 'sport = :1992'"),
        "{text}"
    );
}

#[test]
fn an_executable_that_is_gone_is_said() {
    for (state, expected) in [
        (ExeState::Deleted, "nc (uid 0), whose executable is deleted, opened "),
        (ExeState::Memfd, "nc (uid 0), which runs from memory alone, opened "),
        (ExeState::File, "nc (uid 0) opened "),
    ] {
        let process = ProcessIdentity {
            exe_state: Some(state),
            ..nc(None)
        };
        let text = summary(&listen(), &report_of(&listen(), process), "web-7");
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn a_note_of_a_page_gives_way_to_the_description() {
    let text = summary_for(listen_on(80), None);
    assert!(
        text.contains("http (World Wide Web HTTP)") && text.len() < 400,
        "{text}"
    );
}

#[test]
fn a_user_without_a_name_is_a_number() {
    assert!(summary_for(listen(), None).starts_with("nc (uid 1000) opened 1992/tcp on "));
}

#[test]
fn an_ipv6_address_stands_in_brackets_and_udp_is_looked_for_among_udp_sockets() {
    assert_eq!(
        summary_for(listen_at("::1", 1992), Some("alice")),
        format!("nc (uid 1000 alice) opened 1992/tcp on [::1] on web-7. {BOTH} Check: ss -ltnp 'sport = :1992'")
    );
    let mut udp = listen();
    udp.socket.protocol = Protocol::Udp;
    assert_eq!(
        summary_for(udp, Some("alice")),
        format!("nc (uid 1000 alice) opened 1992/udp on 0.0.0.0 on web-7. {BOTH} Check: ss -lunp 'sport = :1992'")
    );
}

#[test]
fn a_port_without_a_registration_says_so() {
    for port in [4, 19_992, 50_000] {
        assert_eq!(
            summary_for(listen_on(port), Some("alice")),
            format!(
                "nc (uid 1000 alice) opened {port}/tcp on 0.0.0.0 on web-7. Not registered. \
                 Check: ss -ltnp 'sport = :{port}'"
            )
        );
    }
}

#[test]
fn a_name_that_holds_control_characters_stays_on_one_line() {
    let mut process = nc(None);
    process.exe = Some("/tmp/nc\nRegistered: fine\u{1b}[0m".to_owned());
    let event = listen();
    let report = report_of(&event, process);
    for text in [summary(&event, &report, "web-7"), sentence(&event, &report)] {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn the_log_says_what_happened() {
    let registered = "(registered: stun-p3, ipsendmsg)";
    let outcome = |outcome| Event { outcome, ..listen() };
    let mut kernel = listen();
    kernel.opener.kernel_thread = true;
    for (event, expected) in [
        (
            listen(),
            format!("python3.11 listens on 1992/tcp on 0.0.0.0 {registered}"),
        ),
        (
            listen_at("::", 1992),
            format!("python3.11 listens on 1992/tcp on [::] {registered}"),
        ),
        (
            listen_on(50_000),
            "python3.11 listens on 50000/tcp on 0.0.0.0 (not registered)".to_owned(),
        ),
        (
            outcome(Outcome::Failed(Some(98))),
            format!("python3.11 failed to listen on 1992/tcp on 0.0.0.0: EADDRINUSE {registered}"),
        ),
        (
            outcome(Outcome::Failed(Some(4095))),
            format!("python3.11 failed to listen on 1992/tcp on 0.0.0.0: 4095 {registered}"),
        ),
        (
            outcome(Outcome::Failed(None)),
            format!("python3.11 failed to listen on 1992/tcp on 0.0.0.0 {registered}"),
        ),
        (
            outcome(Outcome::Unconfirmed),
            format!(
                "python3.11 called listen(), with a result that could not be learned, on 1992/tcp on 0.0.0.0 \
                 {registered}"
            ),
        ),
        (
            end_of(&listen()),
            format!("python3.11 stopped listening on 1992/tcp on 0.0.0.0 {registered}"),
        ),
        (
            kernel,
            format!("the kernel (python3.11) listens on 1992/tcp on 0.0.0.0 {registered}"),
        ),
    ] {
        assert_eq!(sentence(&event, &report(&event)), expected);
    }
}

#[test]
fn a_use_without_a_registration_is_told_where_it_is_of_this_port() {
    for (port, expected) in [
        (
            27_018,
            "Not registered; IANA notes: \"Unauthorized Use Known on ports 27018 and 27019\".",
        ),
        (27_153, "Not registered."),
    ] {
        let event = listen_on(port);
        let text = summary(&event, &report_of(&event, nc(None)), "web-7");
        assert!(text.contains(&format!(" on web-7. {expected} Check: ")), "{text}");
    }
}
