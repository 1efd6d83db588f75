use super::*;
use crate::registry::{Registry, Transport};

fn on(port: u16, program: &str) -> Option<bool> {
    name_matches(Registry::embedded().registrations(Transport::Tcp, port), program)
}

#[test]
fn what_serves_a_service_agrees_and_what_serves_another_does_not() {
    for (port, program, expected) in [
        (22, "sshd", Some(true)),
        (22, "dropbear", Some(true)),
        (22, "systemd", Some(true)),
        (22, "nc", Some(false)),
        (22, "python3.11", Some(false)),
        (22, "nginx", None),
        (22, "docker-proxy", None),
        (80, "nginx", Some(true)),
        (80, "apache2", Some(true)),
        (80, "python3", None),
        (80, "grafana", None),
        (80, "sshd", Some(false)),
        (443, "mysqld", Some(false)),
        (25, "python3", None),
        (25, "exim4", Some(true)),
        (25, "nc", Some(false)),
        (53, "systemd-resolve", Some(true)),
        (3306, "java", None),
        (3306, "mariadbd", Some(true)),
        (3306, "perl", Some(false)),
        (6379, "redis-server", Some(true)),
        (5432, "socat", None),
        // submissions, and urd, of which the table knows nothing.
        (465, "master", Some(true)),
        (465, "nc", None),
        // shell, which the table does not know.
        (514, "rsyslogd", None),
    ] {
        assert_eq!(on(port, program), expected, "{program} on {port}");
    }
}

#[test]
fn on_a_dormant_port_any_program_disagrees_and_on_an_unregistered_one_none_does() {
    for program in ["python3", "sshd", "docker-proxy", "systemd"] {
        assert_eq!(on(1992, program), Some(false), "{program}");
        assert_eq!(on(19_992, program), None, "{program}");
        assert_eq!(on(50_000, program), None, "{program}");
    }
    // Living services that the table does not know.
    assert_eq!(on(1993, "python3"), None);
    assert_eq!(on(8080, "sshd"), None);
}

#[test]
fn the_table_names_services_that_iana_has_and_programs_without_a_version() {
    for (services, programs, _) in SERVED {
        for service in *services {
            let known = Registry::embedded().by_name(service).any(|row| row.ports().is_some());
            assert!(known, "{service}");
        }
        for program in *programs {
            assert_eq!(plain(program), *program);
        }
    }
    assert_eq!(
        ["python3.11", "apache2", "php-fpm8.2", "stunnel4"].map(plain),
        ["python", "apache", "php-fpm", "stunnel"]
    );
}
