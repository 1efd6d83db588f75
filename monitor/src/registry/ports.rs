//! Ports as an operator writes them, in `--watch`, in rules and in `explain`.

use super::Registry;
use super::registration::{Ports, Transport};
use std::fmt;

/// A stretch of ports of one transport, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSpec {
    /// The transport; `None` stands for all.
    pub transport: Option<Transport>,
    /// The lowest port.
    pub first: u16,
    /// The highest port, equal to `first` for a single one.
    pub last: u16,
}

/// What one word on the command line speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// Ports by number: `1992`, `1990-1994`, `tcp/8080`, `8080/tcp`.
    Ports(PortSpec),
    /// A service name that the registry has, perhaps without a port: `stun-p3`, `tcp/stun-p3`.
    Name {
        /// The transport that was asked for.
        transport: Option<Transport>,
        /// The name as it was typed.
        name: &'a str,
    },
}

/// Why a word does not stand for ports, in one sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpecError(String);

impl fmt::Display for PortSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PortSpecError {}

impl PortSpec {
    /// Reads a list separated by commas, of ports, ranges and service names, each with or without a transport.
    ///
    /// A name stands for all its ports, one item for each transport and stretch that it is registered on. The order of
    /// the list is kept; nothing is merged or removed.
    ///
    /// # Errors
    /// One sentence for the first item that is empty, out of range, unknown (with the nearest name), or a name without
    /// a port.
    pub fn parse_list(text: &str, registry: &Registry) -> Result<Vec<Self>, PortSpecError> {
        let mut specs = Vec::new();
        for item in text.split(',').map(str::trim) {
            if item.is_empty() {
                let nothing = if text.trim().is_empty() {
                    "nothing"
                } else {
                    "an empty item"
                };
                return Err(PortSpecError(format!(
                    "`{text}` names {nothing}; write ports, ranges or service names separated by commas"
                )));
            }
            match Subject::parse(item, registry)? {
                Subject::Ports(spec) => specs.push(spec),
                Subject::Name { transport, name } => {
                    let before = specs.len();
                    for registration in registry.by_name(name) {
                        if let Some(Ports { first, last }) = registration.ports()
                            && applies(registration.transport(), transport)
                        {
                            let transport = registration.transport().or(transport);
                            specs.push(Self { transport, first, last });
                        }
                    }
                    if specs.len() == before {
                        return Err(PortSpecError(format!(
                            "`{item}` is registered without a port; name the ports by number"
                        )));
                    }
                }
            }
        }
        Ok(specs)
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transport) = self.transport {
            write!(f, "{transport}/")?;
        }
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl<'a> Subject<'a> {
    /// Reads one word. Digits are a port or a range; all else is a service name, which must exist.
    ///
    /// # Errors
    /// One sentence: a port out of 0–65535, a range that ends before it begins, or a name that the registry does not
    /// have (on this transport), with the nearest one.
    pub fn parse(word: &'a str, registry: &Registry) -> Result<Self, PortSpecError> {
        let (transport, rest) = split_transport(word);
        if is_number(rest) {
            let port = parse_port(rest)?;
            return Ok(Self::Ports(PortSpec {
                transport,
                first: port,
                last: port,
            }));
        }
        if let Some((first, last)) = rest.split_once('-')
            && is_number(first)
            && is_number(last)
        {
            let (first, last) = (parse_port(first)?, parse_port(last)?);
            if first > last {
                return Err(PortSpecError(format!(
                    "the range {first}-{last} ends before it begins; write {last}-{first}"
                )));
            }
            return Ok(Self::Ports(PortSpec { transport, first, last }));
        }
        let mut registrations = registry.by_name(rest).peekable();
        if registrations.peek().is_none() {
            return Err(PortSpecError(unknown(word, rest, registry)));
        }
        if !registrations.any(|registration| applies(registration.transport(), transport)) {
            let transport = transport.map_or("any transport", Transport::name);
            return Err(PortSpecError(format!(
                "the service `{rest}` is not registered for {transport}; write `{rest}` alone for all its ports"
            )));
        }
        Ok(Self::Name { transport, name: rest })
    }
}

/// Whether a row of a transport is meant where another is asked for; on either side `None` stands for all.
fn applies(row: Option<Transport>, wanted: Option<Transport>) -> bool {
    row.is_none() || wanted.is_none() || row == wanted
}

/// Takes a transport off either end. A slash may belong to a name (`cl/1`), so anything else is left as it is.
fn split_transport(word: &str) -> (Option<Transport>, &str) {
    if let Some((transport, rest)) = word.split_once('/')
        && let Some(transport) = Transport::from_name(transport)
    {
        return (Some(transport), rest);
    }
    if let Some((rest, transport)) = word.rsplit_once('/')
        && let Some(transport) = Transport::from_name(transport)
    {
        return (Some(transport), rest);
    }
    (None, word)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_port(digits: &str) -> Result<u16, PortSpecError> {
    digits
        .parse()
        .map_err(|_| PortSpecError(format!("port {digits} is out of range; ports go from 0 to 65535")))
}

fn unknown(word: &str, name: &str, registry: &Registry) -> String {
    match registry.nearest_name(name) {
        Some(nearest) => format!("no service is registered as `{name}`; did you mean `{nearest}`?"),
        None => format!(
            "`{word}` is neither a port (0 to 65535), nor a range such as 1990-1994, nor a registered service name"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Transport::{Sctp, Tcp, Udp};

    const fn spec(transport: Option<Transport>, first: u16, last: u16) -> PortSpec {
        PortSpec { transport, first, last }
    }

    #[test]
    fn ports_ranges_transports_names_and_lists_are_read() {
        let cases: [(&str, &[PortSpec]); 15] = [
            ("1992", &[spec(None, 1992, 1992)]),
            ("0", &[spec(None, 0, 0)]),
            ("65535", &[spec(None, 65_535, 65_535)]),
            ("1990-1994", &[spec(None, 1990, 1994)]),
            ("22-22", &[spec(None, 22, 22)]),
            ("tcp/8080", &[spec(Some(Tcp), 8080, 8080)]),
            ("8080/UDP", &[spec(Some(Udp), 8080, 8080)]),
            ("sctp/1-2", &[spec(Some(Sctp), 1, 2)]),
            ("stun-p3", &[spec(Some(Tcp), 1992, 1992), spec(Some(Udp), 1992, 1992)]),
            ("udp/STUN-p3", &[spec(Some(Udp), 1992, 1992)]),
            ("cl/1", &[spec(Some(Tcp), 172, 172), spec(Some(Udp), 172, 172)]),
            ("tcp/cl/1", &[spec(Some(Tcp), 172, 172)]),
            ("vrml-multi-use", &[spec(None, 4200, 4299)]),
            ("vrml-multi-use/tcp", &[spec(Some(Tcp), 4200, 4299)]),
            (
                "1994, 1990-1991,tcp/22",
                &[spec(None, 1994, 1994), spec(None, 1990, 1991), spec(Some(Tcp), 22, 22)],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                PortSpec::parse_list(text, Registry::embedded()).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_a_port_is_refused_in_one_sentence() {
        for (text, expected) in [
            ("65536", "port 65536 is out of range; ports go from 0 to 65535"),
            (
                "tcp/99999999999999999999",
                "port 99999999999999999999 is out of range; ports go from 0 to 65535",
            ),
            ("1990-70000", "port 70000 is out of range; ports go from 0 to 65535"),
            (
                "1994-1990",
                "the range 1994-1990 ends before it begins; write 1990-1994",
            ),
            (
                "stunp3",
                "no service is registered as `stunp3`; did you mean `stun-p3`?",
            ),
            ("1992,ssj", "no service is registered as `ssj`; did you mean `ssh`?"),
            (
                "xyzzyqwerty",
                "`xyzzyqwerty` is neither a port (0 to 65535), nor a range such as 1990-1994, nor a registered service name",
            ),
            (
                "sctp/stun-p3",
                "the service `stun-p3` is not registered for sctp; write `stun-p3` alone for all its ports",
            ),
            (
                "argus",
                "`argus` is registered without a port; name the ports by number",
            ),
            (
                "1990,,1992",
                "`1990,,1992` names an empty item; write ports, ranges or service names separated by commas",
            ),
            (
                "",
                "`` names nothing; write ports, ranges or service names separated by commas",
            ),
        ] {
            let error = PortSpec::parse_list(text, Registry::embedded()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_spec_is_written_as_it_is_read() {
        for text in ["1992", "1990-1994", "tcp/8080", "dccp/1-2"] {
            let specs = PortSpec::parse_list(text, Registry::embedded()).unwrap();
            assert_eq!(specs.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
        }
    }
}
