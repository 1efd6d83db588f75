//! Protocols that are dead, reviewed by hand, each with its reason.
//!
//! What belongs here: a protocol that no maintained program of a Linux host serves, and that no hobby keeps alive. Left
//! out on purpose, since somebody still runs them: gopher, finger, uucp, kermit, supdup and MIT's `mit-ml-dev` (hobby
//! systems), aurp (AppleTalk gateways are still written), ipx (emulators tunnel it by UDP), smux (Net-SNMP), XOT
//! (`x25-svc-port`), Archie's prospero, Sun's `sun-dr` (Solaris on SPARC). A row is meant by name and port: a name alone
//! may have another use elsewhere (`msp` on 2438).

use crate::registry::registration::Registration;

/// Why a registration is dormant.
#[derive(Debug, PartialEq, Eq)]
pub struct Dormancy {
    /// The registrations: service name and port.
    services: &'static [(&'static str, u16)],
    /// What it was, in a few words: `dead Cisco STUN`.
    pub what: &'static str,
    /// One sentence: why nobody speaks it any more.
    pub reason: &'static str,
}

impl Dormancy {
    /// Why a row is dormant; `None` where it is not known to be.
    #[must_use]
    pub fn of(row: &Registration<'_>) -> Option<&'static Self> {
        let (service, ports) = (row.service()?, row.ports()?);
        if ports.first != ports.last {
            return None;
        }
        TABLE.iter().find(|dormancy| {
            dormancy
                .services
                .iter()
                .any(|(name, port)| *port == ports.first && name.eq_ignore_ascii_case(service))
        })
    }

    /// All registrations in the table.
    #[cfg(test)]
    pub(super) fn services() -> impl Iterator<Item = (&'static str, u16)> {
        TABLE.iter().flat_map(|dormancy| dormancy.services.iter().copied())
    }
}

const fn dead(services: &'static [(&'static str, u16)], what: &'static str, reason: &'static str) -> Dormancy {
    Dormancy { services, what, reason }
}

static TABLE: &[Dormancy] = &[
    dead(
        &[
            ("stun-p1", 1990),
            ("stun-p2", 1991),
            ("stun-p3", 1992),
            ("stun-port", 1994),
        ],
        "dead Cisco STUN",
        "Cisco's serial tunnel carried the SDLC lines of IBM mainframes from router to router; no program of a host serves it, and NAT's STUN (3478) is another protocol.",
    ),
    dead(
        &[("ipsendmsg", 1992), ("mshnet", 1989)],
        "dead MHSnet",
        "MHSnet was the store-and-forward network of Australian universities in the 1980s and 1990s; no system packages it.",
    ),
    dead(
        &[
            ("tr-rsrb-p1", 1987),
            ("tr-rsrb-p2", 1988),
            ("tr-rsrb-p3", 1989),
            ("tr-rsrb-port", 1996),
        ],
        "dead Cisco RSRB",
        "Cisco's remote source-route bridging joined Token Rings between routers; Token Ring is gone, from Linux since 3.5 (2012).",
    ),
    dead(
        &[("rje", 5)],
        "dead Remote Job Entry",
        "Remote Job Entry (RFC 407, 1972) fed batch jobs to hosts of the ARPANET.",
    ),
    dead(
        &[("netrjs-1", 71), ("netrjs-2", 72), ("netrjs-3", 73), ("netrjs-4", 74)],
        "dead NETRJS",
        "NETRJS (RFC 740, 1977) entered jobs into one mainframe of UCLA's.",
    ),
    dead(
        &[("nsw-fe", 27), ("msg-auth", 31)],
        "dead National Software Works",
        "The National Software Works and its MSG protocol were an ARPANET project that ended in the 1980s.",
    ),
    dead(
        &[("graphics", 41)],
        "dead ARPANET graphics",
        "The Network Graphics Protocol (RFC 493, 1973) drew on displays of the ARPANET.",
    ),
    dead(
        &[("mpm-flags", 44), ("mpm", 45), ("mpm-snd", 46)],
        "dead MPM",
        "The Internet Message Protocol and its Message Processing Module (RFC 759, 1980) gave way to SMTP.",
    ),
    dead(
        &[("msp", 18)],
        "dead Message Send",
        "The Message Send Protocol (RFC 1312) was an experiment; the registry itself calls it historic.",
    ),
    dead(
        &[
            ("xns-time", 52),
            ("xns-ch", 54),
            ("xns-auth", 56),
            ("xns-mail", 58),
            ("xns-courier", 165),
            ("courier", 530),
        ],
        "dead Xerox XNS",
        "Xerox Network Systems and its Courier calls ended with the machines they were made for; the mail server Courier does not use these ports.",
    ),
    dead(
        &[("whoispp", 63), ("whois++", 63)],
        "dead whois++",
        "The directory service whois++ (RFC 1835) was given up in the 1990s; whois is on 43.",
    ),
    dead(
        &[("su-mit-tg", 89)],
        "dead Telnet gateway",
        "It led from Stanford's and MIT's local networks to the ARPANET's Telnet.",
    ),
    dead(
        &[("mit-dov", 91)],
        "dead Dover spooler",
        "It printed on MIT's Dover, a laser printer of Xerox's from the 1970s.",
    ),
    dead(
        &[("tacnews", 98)],
        "dead TAC News",
        "It told news to users of the ARPANET's and MILNET's terminal access controllers, which were switched off decades ago.",
    ),
    dead(
        &[("hostname", 101)],
        "dead NIC host table",
        "The NIC's host name server (RFC 953) gave out HOSTS.TXT, which DNS replaced.",
    ),
    dead(
        &[("csnet-ns", 105)],
        "dead CSNET name server",
        "CSNET was shut down in 1991, and its name server with it.",
    ),
    dead(
        &[("rtelnet", 107)],
        "dead Remote Telnet",
        "The Remote User Telnet Service (RFC 818, 1982) is historic; Telnet itself is on 23.",
    ),
    dead(
        &[("pop2", 109)],
        "dead POP2",
        "POP2 (RFC 937, 1985) is historic; POP3 is on 110.",
    ),
    dead(
        &[("sftp", 115)],
        "dead Simple FTP",
        "The Simple File Transfer Protocol (RFC 913, 1984) is historic; the SFTP in use is a part of SSH, on 22.",
    ),
    dead(
        &[("uucp-path", 117)],
        "dead UUCP Path",
        "The path service (RFC 915, 1984) answered from the maps of UUCP, which nobody has kept since 2000.",
    ),
    dead(
        &[("statsrv", 133)],
        "dead statistics server",
        "The statistics server (RFC 996, 1987) ran on the gateways of the early NSFNET.",
    ),
    dead(
        &[("bl-idm", 142)],
        "dead Britton-Lee IDM",
        "Britton-Lee's Intelligent Database Machine was hardware of the 1980s.",
    ),
    dead(
        &[("hems", 151), ("sgmp", 153), ("sgmp-traps", 160)],
        "dead ancestor of SNMP",
        "SGMP (RFC 1028) and HEMS (RFC 1021) were given up for SNMP in 1988 and 1989.",
    ),
    dead(
        &[("bftp", 152)],
        "dead Background FTP",
        "The Background File Transfer Program (RFC 1068, 1988) queued transfers between ARPANET hosts.",
    ),
    dead(
        &[("pcmail-srv", 158)],
        "dead PCMail",
        "MIT's PCMail (RFC 1056, 1988) gave way to IMAP.",
    ),
    dead(
        &[("nss-routing", 159)],
        "dead NSFNET routing",
        "It ran between the switches of the NSFNET backbone, which was shut down in 1995.",
    ),
    dead(
        &[("nextstep", 178)],
        "dead NeXTSTEP",
        "NeXTSTEP's window server drew for other machines; the system ended in the 1990s.",
    ),
    dead(
        &[("imap3", 220)],
        "dead IMAP3",
        "IMAP3 (RFC 1203, 1991) is historic and was hardly ever used; IMAP is on 143.",
    ),
    dead(
        &[("fln-spx", 221), ("rsh-spx", 222)],
        "dead SPX login",
        "They were rlogin and rsh with SPX, an authentication of Digital's that lost to Kerberos around 1991.",
    ),
    dead(
        &[("kerberos-iv", 750)],
        "dead Kerberos 4",
        "Kerberos 4 has known holes, and MIT took it out in 2009; Kerberos 5 is on 88.",
    ),
];
