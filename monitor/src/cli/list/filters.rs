//! Which of the listeners are shown.

use clap::ValueEnum;

use super::row::{Owner, Row};
use crate::{
    event::Protocol,
    exit::UsageError,
    output::pattern::matches,
    policy::{Policy, Verdict, covers},
    registry::{PortSpec, Registry},
};

/// What is shown; each kind narrows the rest, several of one kind add up.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FilterArgs {
    /// Only these ports: a port (1992, tcp/1992), a range (6000-6010) or a service name (stun-p3)
    #[arg(value_name = "PORT|RANGE|NAME", allow_negative_numbers = true)]
    pub ports: Vec<String>,

    /// The same, as a flag; may be given several times
    #[arg(long, value_name = "PORTS|NAMES")]
    pub port: Vec<String>,

    /// Only what a registration or the process is called; a part of the name, or a pattern with * and ?
    #[arg(long, value_name = "NAME|PATTERN")]
    pub name: Vec<String>,

    /// Only listeners of this verdict
    #[arg(long, value_enum, value_delimiter = ',')]
    pub verdict: Vec<VerdictWord>,

    /// Only listeners of this user: a name or a number
    #[arg(long, value_name = "USER")]
    pub user: Vec<String>,

    /// Only this protocol
    #[arg(long, value_enum)]
    pub protocol: Vec<ProtocolWord>,

    /// Only this network namespace: `host`, `other` (all but the host's) or an inode
    #[arg(long, value_name = "host|other|INODE", value_parser = netns)]
    pub netns: Vec<Netns>,

    /// Show UDP sockets on automatic ports too, which belong mostly to programs that only ask others
    #[arg(long)]
    pub all: bool,
}

/// A verdict, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerdictWord {
    Expected,
    Unexpected,
    Unruled,
}

impl VerdictWord {
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Expected => Verdict::Expected,
            Self::Unexpected => Verdict::Unexpected,
            Self::Unruled => Verdict::Unruled,
        }
    }
}

/// A protocol, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolWord {
    Tcp,
    Udp,
}

impl ProtocolWord {
    fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
        }
    }
}

/// Network namespaces, as they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Netns {
    Host,
    Other,
    Inode(u32),
}

fn netns(text: &str) -> Result<Netns, String> {
    match text {
        "host" => Ok(Netns::Host),
        "other" => Ok(Netns::Other),
        number => number
            .parse()
            .map(Netns::Inode)
            .map_err(|_| "write host, other or an inode such as 4026531840".to_owned()),
    }
}

/// What was asked for, understood.
#[derive(Clone, Debug)]
pub struct Filters {
    ports: Vec<PortSpec>,
    names: Vec<String>,
    verdicts: Vec<Verdict>,
    users: Vec<String>,
    protocols: Vec<Protocol>,
    netns: Vec<Netns>,
    all: bool,
    /// The host's range of automatic ports.
    automatic: Option<(u16, u16)>,
}

impl Filters {
    /// Whether they ask for something that only a process tells.
    pub fn ask_for_processes(&self) -> bool {
        !self.names.is_empty() || !self.users.is_empty()
    }

    /// Understands the arguments. `automatic` is the host's range of automatic ports.
    ///
    /// # Errors
    /// [`UsageError`] where something is no port and no service name.
    pub fn new(args: &FilterArgs, registry: &Registry, automatic: Option<(u16, u16)>) -> Result<Self, UsageError> {
        let mut ports = Vec::new();
        let given = args.ports.iter().map(|text| ("", text));
        for (flag, text) in given.chain(args.port.iter().map(|text| ("--port: ", text))) {
            let specs = PortSpec::parse_list(text, registry).map_err(|error| {
                // What begins with a digit was meant to be a port.
                let is_name = text.starts_with(|letter: char| letter.is_ascii_alphabetic());
                let way = if is_name {
                    " (--name finds processes by name)"
                } else {
                    ""
                };
                UsageError(format!("{flag}{error}{way}"))
            })?;
            ports.extend(specs);
        }
        Ok(Self {
            ports,
            names: args.name.iter().map(|name| name.to_lowercase()).collect(),
            verdicts: args.verdict.iter().map(|word| word.verdict()).collect(),
            users: args.user.clone(),
            protocols: args.protocol.iter().map(|word| word.protocol()).collect(),
            netns: args.netns.clone(),
            all: args.all,
            automatic,
        })
    }

    /// Whether the row is one of those that were asked for.
    pub fn shows(&self, row: &Row) -> bool {
        any(&self.ports, |spec| covers(spec, row.protocol, row.port))
            && any(&self.protocols, |protocol| *protocol == row.protocol)
            && any(&self.verdicts, |verdict| *verdict == row.verdict)
            && any(&self.netns, |netns| match netns {
                Netns::Host => row.host_netns,
                Netns::Other => !row.host_netns,
                Netns::Inode(inode) => *inode == row.netns,
            })
            && any(&self.users, |user| {
                let owner = row.user();
                owner.name.as_ref() == Some(user) || owner.uid.to_string() == *user
            })
            && any(&self.names, |name| {
                let process = row.process().map(|process| [process.name(), process.comm.clone()]);
                let registered = row.services().into_iter().map(str::to_owned);
                registered
                    .chain(process.into_iter().flatten())
                    .any(|candidate| matches(name, &candidate.to_lowercase()))
            })
    }

    /// Whether the row is a UDP socket of a program on an automatic port that nobody speaks of: neither a rule, nor the
    /// registry, nor this command line. (The kernel has a purpose with its own: WireGuard's are such.)
    pub fn leaves_out(&self, row: &Row, policy: &Policy) -> bool {
        let in_range = self
            .automatic
            .is_some_and(|(first, last)| (first..=last).contains(&row.port));
        row.protocol == Protocol::Udp
            && matches!(row.owner, Owner::Process(_) | Owner::Hidden)
            && in_range
            && !self.all
            && self.ports.is_empty()
            && row.services().is_empty()
            && !policy.names(row.protocol, row.port)
    }
}

/// Whether one of them holds; where nothing was asked for, everything is wanted.
fn any<T>(asked: &[T], holds: impl Fn(&T) -> bool) -> bool {
    asked.is_empty() || asked.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{nc, policy, resolver, row, sshd},
        *,
    };

    fn filters(change: impl FnOnce(&mut FilterArgs)) -> Filters {
        let mut args = FilterArgs::default();
        change(&mut args);
        Filters::new(&args, Registry::embedded(), Some((32_768, 60_999))).unwrap()
    }

    fn shown(change: impl FnOnce(&mut FilterArgs)) -> Vec<u16> {
        let filters = filters(change);
        let rows = [row(nc()), row(sshd()), row(resolver())];
        rows.iter()
            .filter(|row| filters.shows(row))
            .map(|row| row.port)
            .collect()
    }

    #[test]
    fn each_kind_of_filter_finds_its_own() {
        let list = |text: &str| vec![text.to_owned()];
        assert_eq!(shown(|_| ()), [1992, 22, 45_123]);
        assert_eq!(shown(|args| args.ports = list("1990-1994")), [1992]);
        assert_eq!(shown(|args| args.ports = list("udp/1990-1994")), [0_u16; 0]);
        assert_eq!(shown(|args| args.ports = list("ssh,stun-p3")), [1992, 22]);
        assert_eq!(shown(|args| args.port = list("22")), [22]);
        assert_eq!(shown(|args| args.name = list("IPSEND")), [1992]);
        assert_eq!(shown(|args| args.name = list("ss?*")), [22]);
        assert_eq!(shown(|args| args.name = list("nc")), [1992]);
        assert_eq!(shown(|args| args.verdict = vec![VerdictWord::Unexpected]), [1992]);
        assert_eq!(shown(|args| args.user = list("alice")), [1992]);
        assert_eq!(shown(|args| args.user = list("0")), [22]);
        assert_eq!(shown(|args| args.protocol = vec![ProtocolWord::Udp]), [45_123]);
        assert_eq!(shown(|args| args.netns = vec![Netns::Other]), [0_u16; 0]);
        assert_eq!(
            shown(|args| {
                args.netns = vec![Netns::Inode(4_026_531_840)];
                args.user = list("root");
            }),
            [22]
        );
    }

    #[test]
    fn udp_on_an_automatic_port_is_left_out_unless_something_names_it() {
        let leaves_out = |found, change: fn(&mut FilterArgs)| filters(change).leaves_out(&row(found), &policy());
        assert!(leaves_out(resolver(), |_| ()));
        assert!(!leaves_out(resolver(), |args| args.all = true));
        assert!(!leaves_out(resolver(), |args| args.ports = vec!["45123".to_owned()]));
        assert!(!leaves_out(nc(), |_| ()));
        let mut beside = resolver();
        beside.0.socket.port = 5353;
        assert!(!leaves_out(beside, |_| ()));
        let mut wireguard = resolver();
        wireguard.1.owner = Owner::Nobody;
        assert!(!leaves_out(wireguard, |_| ()));
    }

    #[test]
    fn what_is_no_port_is_refused_with_a_way_to_find_processes() {
        let args = FilterArgs {
            ports: vec!["nosuchthing".to_owned()],
            ..FilterArgs::default()
        };
        let error = Filters::new(&args, Registry::embedded(), None).unwrap_err();
        assert!(error.0.ends_with("(--name finds processes by name)"), "{error}");
    }

    #[test]
    fn a_namespace_is_host_other_or_a_number() {
        assert_eq!(netns("host"), Ok(Netns::Host));
        assert_eq!(netns("4026531840"), Ok(Netns::Inode(4_026_531_840)));
        assert!(netns("hots").is_err());
    }
}
