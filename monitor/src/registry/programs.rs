//! Whether a program is one of those that serve what its port is registered for.
//!
//! A small table, reviewed by hand: it answers `true` or `false` only where it knows, and `None` elsewhere. It compares
//! names. Whoever names a program `sshd` is taken for it, so `true` proves nothing; `false` is worth a look.
//!
//! What is unknown on purpose:
//! - carriers that listen for somebody else (container and Kubernetes proxies, relays, load balancers, tunnels,
//!   super-servers, systemd): what answers behind them may well be the service;
//! - runtimes of large servers (java, the Erlang and .NET runtimes) and programs with many faces (busybox): the
//!   executable does not say what it runs;
//! - interpreters of scripts (python, node, perl), on services that scripts do serve: web, mail, DNS, LDAP and so on.
//!   No usual SSH, MySQL, PostgreSQL, Redis or NTP server is a script, so there they disagree;
//! - any program on a web port that is not known to serve something else: everything speaks HTTP today;
//! - a port that also has a registration which the table does not know.

use super::meaning::Meaning;
use super::registration::{Registration, Status};

/// What a program counts for that is not among those of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// It disagrees, scripts too.
    Disagree,
    /// It disagrees, but a script may serve this.
    MayBeScripts,
    /// Nothing is known of it, unless it is listed for another service.
    Unknown,
}

/// Services, the programs that serve them, and what others count for. Programs are written without a version at the end
/// (see [`plain`]).
type Entry = (&'static [&'static str], &'static [&'static str], Others);

static SERVED: &[Entry] = &[
    (
        &["ssh"],
        // systemd opens the socket for sshd where ssh.socket is used; the others bring a server of their own.
        &[
            "sshd", "dropbear", "systemd", "tinysshd", "gitea", "forgejo", "teleport",
        ],
        Others::Disagree,
    ),
    (
        &["http", "www", "www-http", "https"],
        &[
            "nginx",
            "apache",
            "httpd",
            "caddy",
            "lighttpd",
            "haproxy",
            "traefik",
            "envoy",
            "varnishd",
            "angie",
            "openresty",
            "h2o",
        ],
        Others::Unknown,
    ),
    (
        &["domain"],
        &[
            "named",
            "unbound",
            "dnsmasq",
            "systemd-resolved",
            "coredns",
            "knotd",
            "kresd",
            "nsd",
            "pdns_server",
            "pdns_recursor",
            "dnsdist",
            "aardvark-dns",
            "pihole-FTL",
            "AdGuardHome",
            "stubby",
            "samba",
        ],
        Others::MayBeScripts,
    ),
    (
        &["smtp", "submission", "submissions"],
        // Postfix listens in its master.
        &[
            "master",
            "exim",
            "sendmail",
            "sendmail-mta",
            "smtpd",
            "opensmtpd",
            "msmtpd",
        ],
        Others::MayBeScripts,
    ),
    (
        &["imap", "imaps", "pop3", "pop3s"],
        &["dovecot", "couriertcpd", "cyrmaster", "master"],
        Others::MayBeScripts,
    ),
    (
        &["mysql"],
        &["mysqld", "mariadbd", "proxysql", "mysqlrouter", "maxscale"],
        Others::Disagree,
    ),
    (
        &["postgresql"],
        &["postgres", "pgbouncer", "pgpool", "pgcat", "odyssey"],
        Others::Disagree,
    ),
    (
        &["redis"],
        &["redis-server", "valkey-server", "keydb-server", "dragonfly"],
        Others::Disagree,
    ),
    (
        &["ntp"],
        &["ntpd", "chronyd", "ntp-daemon", "openntpd"],
        Others::Disagree,
    ),
    (
        &["ldap", "ldaps"],
        &["slapd", "ns-slapd", "samba"],
        Others::MayBeScripts,
    ),
    (&["kerberos"], &["krb5kdc", "kdc", "samba"], Others::MayBeScripts),
    (
        &["ftp"],
        &["vsftpd", "proftpd", "pure-ftpd", "ftpd"],
        Others::MayBeScripts,
    ),
    (&["telnet"], &["telnetd", "in.telnetd"], Others::MayBeScripts),
    (
        &["tftp"],
        &["in.tftpd", "tftpd", "atftpd", "dnsmasq"],
        Others::MayBeScripts,
    ),
    (
        &["bootps"],
        &["dhcpd", "kea-dhcp", "dnsmasq", "udhcpd", "systemd-networkd"],
        Others::MayBeScripts,
    ),
    (&["sunrpc"], &["rpcbind"], Others::MayBeScripts),
    (
        &["microsoft-ds", "netbios-ssn"],
        &["smbd", "samba"],
        Others::MayBeScripts,
    ),
    (
        &["bgp"],
        &["bgpd", "bird", "gobgpd", "bio-rd", "calico-node"],
        Others::MayBeScripts,
    ),
    (&["snmp"], &["snmpd"], Others::MayBeScripts),
    (
        &["syslog"],
        &["rsyslogd", "syslog-ng", "vector", "fluent-bit"],
        Others::MayBeScripts,
    ),
    (&["ipp", "ipps"], &["cupsd"], Others::MayBeScripts),
    (&["mqtt"], &["mosquitto", "nanomq"], Others::MayBeScripts),
    (&["memcache"], &["memcached"], Others::MayBeScripts),
    (&["rsync"], &["rsync"], Others::MayBeScripts),
    (&["zabbix-agent"], &["zabbix_agent", "zabbix_agentd"], Others::Disagree),
];

/// Programs that listen for others, or whose name does not say what they run: unknown wherever they are not listed above.
static FACELESS: &[&str] = &[
    "docker-proxy",
    "kube-proxy",
    "rootlessport",
    "slirp4netns",
    "pasta",
    "passt",
    "conmon",
    "systemd",
    "systemd-socket-proxyd",
    "init",
    "inetd",
    "xinetd",
    "haproxy",
    "nginx",
    "envoy",
    "traefik",
    "istio-proxy",
    "pilot-agent",
    "linkerd-proxy",
    "stunnel",
    "socat",
    "ssh",
    "autossh",
    "frps",
    "tailscaled",
    "qemu-system-x86_64",
    "java",
    "beam.smp",
    "dotnet",
    "mono",
    "busybox",
    "toybox",
];

/// Interpreters of scripts.
static SCRIPTS: &[&str] = &[
    "python", "pypy", "perl", "ruby", "node", "nodejs", "deno", "bun", "php", "php-fpm", "lua", "luajit", "tclsh",
];

/// Whether `program` (the base name of its executable, else the name of its process) is one that serves what its port is
/// registered for, by the rows of that port and protocol.
///
/// On a port whose services are all dormant any program disagrees. `None` where the table does not know, or where the
/// port has no service.
#[must_use]
pub fn name_matches<'a>(rows: impl Iterator<Item = Registration<'a>>, program: &str) -> Option<bool> {
    let rows: Vec<_> = rows.collect();
    let assigned = rows.iter().filter(|row| row.status() == Status::Assigned);
    let (dead, living): (Vec<_>, Vec<&Registration<'_>>) =
        assigned.partition(|row| Meaning::of(row) == Meaning::Dormant);
    if living.is_empty() && !dead.is_empty() {
        return Some(false);
    }
    let living = living.into_iter();
    let entries: Vec<Option<&Entry>> = living.map(|row| row.service().and_then(entry)).collect();
    if entries
        .iter()
        .flatten()
        .any(|(_, programs, _)| lists(programs, program))
    {
        return Some(true);
    }
    if entries.is_empty() || lists(FACELESS, program) {
        return None;
    }
    let disagrees = |entry: &Option<&Entry>| match entry {
        None => false,
        Some((.., Others::Disagree)) => true,
        Some((.., Others::MayBeScripts)) => !lists(SCRIPTS, program),
        Some((.., Others::Unknown)) => SERVED.iter().any(|(_, programs, _)| lists(programs, program)),
    };
    entries.iter().all(disagrees).then_some(false)
}

fn entry(service: &str) -> Option<&'static Entry> {
    SERVED
        .iter()
        .find(|(services, ..)| services.iter().any(|name| name.eq_ignore_ascii_case(service)))
}

/// The bytes that the kernel keeps of a process's name.
const COMM: usize = 15;

/// Whether a program is listed. A name of 15 bytes may be one that the kernel cut.
fn lists(programs: &[&str], program: &str) -> bool {
    let plain = plain(program);
    programs.iter().any(|listed| {
        *listed == program || *listed == plain || program.len() == COMM && listed.get(..COMM) == Some(program)
    })
}

/// A name without its version: `python3.11`, `apache2`, `exim4`, `php-fpm8.2`.
fn plain(program: &str) -> &str {
    program.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.' || letter == '-')
}

#[cfg(test)]
mod tests;
