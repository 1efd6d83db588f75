//! The `.socket` unit of a listener that systemd opened for a service: from the unit files, since the process that opened
//! it is systemd itself.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::host::Host;
use crate::event::Protocol;

/// Where units of the system lie, the first counts most (systemd.unit(5), "System Unit Search Path").
const FOLDERS: [&str; 13] = [
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "etc/systemd/system",
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
];

/// How long it holds what was read. systemd opens sockets in a row, and seldom.
const HOLDS: Duration = Duration::from_secs(2);
/// Names in a folder that are looked at.
const MAX_NAMES: usize = 4_096;
/// Units that are kept.
const MAX_UNITS: usize = 512;
/// Drop-ins of a unit.
const MAX_DROP_INS: usize = 64;
/// Ports of a unit.
const MAX_LISTENS: usize = 64;
/// Bytes of a file that are read.
const MAX_FILE: u64 = 64 << 10;

/// The unit that a socket belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketUnit {
    /// `ssh.socket`.
    pub unit: String,
    /// What it starts: `ssh.service`, or with `Accept=yes` the template `ssh@.service`.
    pub service: String,
}

/// The socket units of the host.
#[derive(Debug)]
pub(super) struct Sockets {
    host: Host,
    units: Vec<(SocketUnit, Vec<Listen>)>,
    read: Option<Instant>,
}

impl Sockets {
    /// The units of the host whose file system is at `rootfs`. Reads nothing yet.
    pub(super) fn new(rootfs: PathBuf) -> Self {
        Self {
            host: Host::new(rootfs),
            units: Vec::new(),
            read: None,
        }
    }

    /// The unit that listens here; `None` where there is none, or where several say that they do.
    pub(super) fn unit_of(&mut self, protocol: Protocol, address: IpAddr, port: u16) -> Option<SocketUnit> {
        if self.read.is_none_or(|read| read.elapsed() >= HOLDS) {
            self.units = read(&self.host);
            self.read = Some(Instant::now());
        }
        let is_wildcard = address.is_unspecified();
        // A port alone stands for every address: `::`, and without IPv6 `0.0.0.0`. One with an address comes before it.
        for wanted in [Some(address), None] {
            let here = |listen: &Listen| listen.protocol == protocol && listen.port == port && listen.address == wanted;
            let mut units = self.units.iter().filter(|(_, listens)| listens.iter().any(here));
            if let Some((unit, _)) = units.next().filter(|_| wanted.is_some() || is_wildcard) {
                return units.next().is_none().then(|| unit.clone());
            }
        }
        None
    }
}

/// One `ListenStream=` or `ListenDatagram=` with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listen {
    protocol: Protocol,
    /// `None` for every address.
    address: Option<IpAddr>,
    port: u16,
}

/// What the files of one unit say (systemd.socket(5)). `BindIPv6Only=` is not among it: it decides who is served by a
/// socket, and not where it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    listens: Vec<Listen>,
    service: Option<String>,
    accept: bool,
}

impl Parsed {
    /// Takes the text of a file on top of those before it.
    fn take(&mut self, text: &str) {
        let mut in_socket = false;
        let mut whole = String::new();
        for line in text.lines().map(str::trim) {
            // Comments may stand between the parts of a line.
            if line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(part) = line.strip_suffix('\\') {
                whole.push_str(part);
                whole.push(' ');
                continue;
            }
            whole.push_str(line);
            let line = std::mem::take(&mut whole);
            if line.starts_with('[') {
                in_socket = line == "[Socket]";
            } else if let Some((key, value)) = line.split_once('=').filter(|_| in_socket) {
                self.set(key.trim(), value.trim());
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        match key {
            // Nothing empties the list of all kinds.
            _ if key.starts_with("Listen") && value.is_empty() => self.listens.clear(),
            "ListenStream" => self.listen(Protocol::Tcp, value),
            "ListenDatagram" => self.listen(Protocol::Udp, value),
            "Service" => self.service = Some(value.to_owned()).filter(|service| !service.is_empty()),
            "Accept" => self.accept = matches!(value, "1" | "yes" | "y" | "true" | "t" | "on"),
            _ => {}
        }
    }

    fn listen(&mut self, protocol: Protocol, value: &str) {
        if let Some((address, port)) = endpoint(value).filter(|_| self.listens.len() < MAX_LISTENS) {
            self.listens.push(Listen {
                protocol,
                address,
                port,
            });
        }
    }
}

/// `22`, `127.0.0.1:22`, `[::1]:22`, the latter two with `%lo` behind them; `None` for paths, `@abstract`, `vsock:`.
fn endpoint(value: &str) -> Option<(Option<IpAddr>, u16)> {
    let bare = |text: &str| text.split('%').next().map(str::to_owned);
    if let Some((address, port)) = value.strip_prefix('[').and_then(|value| value.split_once("]:")) {
        let address: Ipv6Addr = bare(address)?.parse().ok()?;
        return Some((Some(address.to_canonical()), bare(port)?.parse().ok()?));
    }
    if let Ok(port) = value.parse() {
        return Some((None, port));
    }
    let end: SocketAddrV4 = bare(value)?.parse().ok()?;
    Some((Some(IpAddr::V4(*end.ip())), end.port()))
}

/// Reads all socket units that listen on a port.
fn read(host: &Host) -> Vec<(SocketUnit, Vec<Listen>)> {
    let mut units: BTreeMap<String, &str> = BTreeMap::new();
    let mut drop_ins: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for folder in FOLDERS {
        for name in host.names(folder, MAX_NAMES) {
            if let Some(unit) = name.strip_suffix(".d").filter(|unit| is_socket(unit)) {
                let confs = drop_ins.entry(unit.to_owned()).or_default();
                let names = host.names(&format!("{folder}/{name}"), MAX_DROP_INS);
                for conf in names.filter(|conf| conf.ends_with(".conf")) {
                    let path = format!("{folder}/{name}/{conf}");
                    confs.entry(conf).or_insert(path);
                }
            } else if is_socket(&name)
                && units.len() < MAX_UNITS
                && !units.contains_key(&name)
                && !is_alias(host, folder, &name)
            {
                units.insert(name, folder);
            }
        }
    }
    let unit = |(name, folder): (String, &str)| {
        // Nothing in it, or a link to /dev/null: the unit is masked.
        let text = text(host, &format!("{folder}/{name}")).filter(|text| !text.is_empty())?;
        let mut parsed = Parsed::default();
        parsed.take(&text);
        for path in drop_ins.get(&name).into_iter().flat_map(BTreeMap::values) {
            if let Some(text) = self::text(host, path) {
                parsed.take(&text);
            }
        }
        let stem = name.strip_suffix(".socket").unwrap_or(&name);
        let instance = if parsed.accept { "@" } else { "" };
        let service = parsed.service.unwrap_or_else(|| format!("{stem}{instance}.service"));
        (!parsed.listens.is_empty()).then_some((SocketUnit { unit: name, service }, parsed.listens))
    };
    units.into_iter().filter_map(unit).collect()
}

/// A unit, and no template for some.
fn is_socket(name: &str) -> bool {
    name.ends_with(".socket") && !name.ends_with("@.socket")
}

/// Whether this is another name of a unit, and not a unit that lies elsewhere.
fn is_alias(host: &Host, folder: &str, name: &str) -> bool {
    host.link(folder, name)
        .is_some_and(|target| target.ends_with(".socket") && target.rsplit('/').next() != Some(name))
}

fn text(host: &Host, path: &str) -> Option<String> {
    let (file, _) = host.file(path)?;
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn parsed(texts: &[&str]) -> Parsed {
        let mut parsed = Parsed::default();
        for text in texts {
            parsed.take(text);
        }
        parsed
    }

    #[test]
    fn a_value_is_a_port_with_or_without_an_address_or_no_port_at_all() {
        for (value, address, port) in [
            ("22", None, 22),
            ("[::]:22", Some("::"), 22),
            ("[::1]:631", Some("::1"), 631),
            ("0.0.0.0:22", Some("0.0.0.0"), 22),
            ("127.0.0.1:5353%lo", Some("127.0.0.1"), 5353),
            ("[fe80::1%eth0]:22", Some("fe80::1"), 22),
            ("[fe80::1]:22%2", Some("fe80::1"), 22),
        ] {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(endpoint(value), Some((address, port)), "{value}");
        }
        for value in [
            "",
            "/run/x",
            "@abstract",
            "vsock:2:1234",
            "vsock::22",
            "%t/x",
            "65536",
            "localhost:22",
            "[::1]",
            "1.2.3.4",
        ] {
            assert_eq!(endpoint(value), None, "{value}");
        }
    }

    #[test]
    fn a_unit_is_what_its_file_and_its_drop_ins_say_in_their_order() {
        let ssh = "[Unit]\nDescription=x\nListenStream=1\n\n[Socket]\n# a comment\nListenStream=22\nAccept=no\nFreeBind=yes\n\
                   ListenStream=/run/x\n[Install]\nListenStream=2\n";
        let listen = |protocol, port| Listen {
            protocol,
            address: None,
            port,
        };
        assert_eq!(parsed(&[ssh]).listens, [listen(Protocol::Tcp, 22)]);
        let more = parsed(&[
            ssh,
            "[Socket]\nListenDatagram = 2222 \nService=other.service\nAccept=yes\n",
        ]);
        assert_eq!(more.listens, [listen(Protocol::Tcp, 22), listen(Protocol::Udp, 2222)]);
        assert_eq!((more.service.as_deref(), more.accept), (Some("other.service"), true));
        let instead = parsed(&[ssh, "[Socket]\nListenStream=\nListenStream=2222\nService=\n"]);
        assert_eq!(instead.listens, [listen(Protocol::Tcp, 2222)]);
        assert_eq!(
            parsed(&["[Socket]\nListenStream=\\\n; between\n  80\n"]).listens,
            [listen(Protocol::Tcp, 80)]
        );
        assert_eq!(
            parsed(&["", "\0", "[Socket", "ListenStream=1", "[Socket]\nListenStream\n=\n\\"]),
            Parsed::default()
        );
        let many = "ListenStream=1\n".repeat(2 * MAX_LISTENS);
        assert_eq!(parsed(&[&format!("[Socket]\n{many}")]).listens.len(), MAX_LISTENS);
    }

    struct Root(tempfile::TempDir);

    impl Root {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                fs::create_dir_all(root.path(path).parent().unwrap()).unwrap();
                fs::write(root.path(path), text).unwrap();
            }
            root
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn tcp(&self, address: &str, port: u16) -> Option<String> {
            let mut sockets = Sockets::new(self.0.path().to_owned());
            let found = sockets.unit_of(Protocol::Tcp, address.parse().unwrap(), port)?;
            Some(format!("{} {}", found.unit, found.service))
        }
    }

    #[test]
    fn a_port_alone_is_every_address_and_one_with_an_address_is_that() {
        let root = Root::new(&[
            ("usr/lib/systemd/system/ssh.socket", "[Socket]\nListenStream=22\n"),
            (
                "usr/lib/systemd/system/cups.socket",
                "[Socket]\nListenStream=/run/cups\nListenStream=127.0.0.1:631\nAccept=yes\n",
            ),
            (
                "usr/lib/systemd/system/four.socket",
                "[Socket]\nListenStream=0.0.0.0:22\nService=four-x.service\n",
            ),
        ]);
        assert_eq!(root.tcp("::", 22).as_deref(), Some("ssh.socket ssh.service"));
        assert_eq!(root.tcp("0.0.0.0", 22).as_deref(), Some("four.socket four-x.service"));
        assert_eq!(root.tcp("127.0.0.1", 631).as_deref(), Some("cups.socket cups@.service"));
        for (address, port) in [("127.0.0.1", 22), ("::", 631), ("::1", 631), ("::", 23)] {
            assert_eq!(root.tcp(address, port), None, "{address} {port}");
        }
        let mut sockets = Sockets::new(root.path(""));
        assert_eq!(sockets.unit_of(Protocol::Udp, "::".parse().unwrap(), 22), None);
    }

    #[test]
    fn files_count_in_systemds_order_and_drop_ins_from_everywhere() {
        let root = Root::new(&[
            ("etc/systemd/system/a.socket", "[Socket]\nListenStream=1\n"),
            ("usr/lib/systemd/system/a.socket", "[Socket]\nListenStream=2\n"),
            ("usr/lib/systemd/system/ssh.socket", "[Socket]\nListenStream=22\n"),
            // As Ubuntu's generator writes what sshd_config says.
            (
                "run/systemd/generator/ssh.socket.d/addresses.conf",
                "[Socket]\nListenStream=\nListenStream=0.0.0.0:2222\n",
            ),
            ("usr/lib/systemd/system/b.socket", "[Socket]\nListenStream=3\n"),
            ("usr/lib/systemd/system/b.socket.d/x.conf", "[Socket]\nListenStream=4\n"),
            ("etc/systemd/system/b.socket.d/x.conf", "[Socket]\nListenStream=5\n"),
            ("etc/systemd/system/b.socket.d/no", "[Socket]\nListenStream=6\n"),
        ]);
        let units = [1, 2, 3, 4, 5, 6, 22].map(|port| root.tcp("::", port).is_some());
        assert_eq!(units, [true, false, true, false, true, false, false]);
        assert_eq!(root.tcp("0.0.0.0", 2222).as_deref(), Some("ssh.socket ssh.service"));
    }

    #[test]
    fn masked_units_aliases_templates_and_doubtful_ones_are_none() {
        let root = Root::new(&[
            ("usr/lib/systemd/system/masked.socket", "[Socket]\nListenStream=1\n"),
            ("usr/lib/systemd/system/empty.socket", "[Socket]\nListenStream=2\n"),
            ("etc/systemd/system/empty.socket", ""),
            ("usr/lib/systemd/system/ssh.socket", "[Socket]\nListenStream=22\n"),
            ("usr/lib/systemd/system/t@.socket", "[Socket]\nListenStream=3\n"),
            ("usr/lib/systemd/system/x.socket", "[Socket]\nListenStream=4\n"),
            ("usr/lib/systemd/system/y.socket", "[Socket]\nListenStream=4\n"),
            ("opt/z.socket", "[Socket]\nListenStream=5\n"),
        ]);
        symlink("/dev/null", root.path("etc/systemd/system/masked.socket")).unwrap();
        symlink(
            "/usr/lib/systemd/system/ssh.socket",
            root.path("etc/systemd/system/alias.socket"),
        )
        .unwrap();
        // As `systemctl link` makes it, with a path of the host.
        symlink("/opt/z.socket", root.path("etc/systemd/system/z.socket")).unwrap();
        for port in 1..=4 {
            assert_eq!(root.tcp("::", port), None, "{port}");
        }
        assert_eq!(root.tcp("::", 22).as_deref(), Some("ssh.socket ssh.service"));
        assert_eq!(root.tcp("::", 5).as_deref(), Some("z.socket z.service"));
    }

    #[test]
    fn a_host_without_systemd_has_none() {
        assert_eq!(Root::new(&[]).tcp("::", 22), None);
    }
}
