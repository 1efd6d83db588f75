//! What the kernel is told over netlink: a route, and to listen by itself.

use std::{io, net::Ipv4Addr};

use anyhow::{Context, Result, ensure};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::Unavailable;

/// `NLM_F_REQUEST | NLM_F_ACK` of include/uapi/linux/netlink.h, and for a thing that is made `NLM_F_CREATE`.
const ASK: u16 = 1 | 4;
const MAKE: u16 = ASK | 0x400;

const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 1 << 15;

/// A request of one message.
struct Request(Vec<u8>);

impl Request {
    /// A message of this type, with what its subsystem wants before attributes.
    fn new(kind: u16, flags: u16, head: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        // Number and sender: one request a socket needs neither.
        bytes.extend([0; 8]);
        bytes.extend(head);
        Self(bytes)
    }

    fn with(mut self, attribute: Vec<u8>) -> Self {
        self.0.extend(attribute);
        self
    }

    /// Sends it, and gives the answer: of one that only succeeds or fails, nothing.
    fn ask(mut self, protocol: Option<Protocol>) -> Result<Vec<u8>> {
        let length = u32::try_from(self.0.len())?.to_ne_bytes();
        for (to, from) in self.0.iter_mut().zip(length) {
            *to = from;
        }
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        send(&socket, &self.0, SendFlags::empty())?;
        let mut answer = vec![0; 8192];
        let (length, _) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
        answer.truncate(length);
        let kind: [u8; 2] = answer.get(4..6).context("a short answer")?.try_into()?;
        if u16::from_ne_bytes(kind) != NLMSG_ERROR {
            return Ok(answer);
        }
        let error: [u8; 4] = answer.get(16..20).context("a short answer")?.try_into()?;
        match i32::from_ne_bytes(error) {
            0 => Ok(Vec::new()),
            error => Err(io::Error::from_raw_os_error(-error).into()),
        }
    }
}

/// An attribute: `struct nlattr`, its bytes, and what fills up to four.
fn attribute(kind: u16, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + bytes.len()).unwrap_or(u16::MAX);
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(bytes);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// Makes an address one that no way leads to.
pub fn make_unreachable(to: Ipv4Addr) -> Result<()> {
    const RTM_NEWROUTE: u16 = 24;
    const RTA_DST: u16 = 1;
    // `struct rtmsg`: AF_INET, all 32 bits; table main, protocol boot, scope universe, RTN_UNREACHABLE; no flags.
    let head = [2, 32, 0, 0, 254, 3, 0, 7, 0, 0, 0, 0];
    let request = Request::new(RTM_NEWROUTE, MAKE, &head).with(attribute(RTA_DST, &to.octets()));
    request.ask(None).context("cannot make a route").map(drop)
}

/// MPTCP's path manager: the kernel listens for it where it is told to.
pub struct PathManager {
    family: u16,
}

impl PathManager {
    /// Has it listen on a port of loopback, where peers may join, while this runs.
    pub fn while_it_listens(&self, port: u16, run: impl FnOnce() -> Result<()>) -> Result<()> {
        // include/uapi/linux/mptcp.h
        const ADD_ADDRESS: u8 = 1;
        const REMOVE_ADDRESS: u8 = 2;
        let endpoint = |command, attributes: &[Vec<u8>]| {
            let address = attribute(NLA_F_NESTED | 1, &attributes.concat());
            Request::new(self.family, ASK, &[command, 1, 0, 0])
                .with(address)
                .ask(Some(netlink::GENERIC))
        };
        let (of_ipv4, id) = (attribute(1, &2_u16.to_ne_bytes()), attribute(2, &[7]));
        let address = attribute(3, &Ipv4Addr::LOCALHOST.octets());
        // A port is for an address that is told to peers (MPTCP_PM_ADDR_FLAG_SIGNAL).
        let (port, told) = (attribute(5, &port.to_ne_bytes()), attribute(6, &1_u32.to_ne_bytes()));
        endpoint(ADD_ADDRESS, &[of_ipv4.clone(), id.clone(), address.clone(), port, told])
            .context("the kernel does not listen")?;
        run()?;
        endpoint(REMOVE_ADDRESS, &[of_ipv4, id, address])
            .context("the kernel listens on")
            .map(drop)
    }

    /// That of this kernel.
    pub fn find() -> Result<Self> {
        const GENL_ID_CTRL: u16 = 16;
        const CTRL_CMD_GETFAMILY: u8 = 3;
        let name = attribute(2, b"mptcp_pm\0");
        let asked = Request::new(GENL_ID_CTRL, 1, &[CTRL_CMD_GETFAMILY, 1, 0, 0]).with(name);
        let answer = asked
            .ask(Some(netlink::GENERIC))
            .map_err(|error| Unavailable(format!("this kernel has no MPTCP that it listens for itself: {error}")))?;
        // Behind both heads come attributes, of which this one is a number of two bytes.
        let mut rest = answer.get(20..).unwrap_or_default();
        while let Some(&[a, b, c, d]) = rest.get(..4) {
            let length = usize::from(u16::from_ne_bytes([a, b]));
            if u16::from_ne_bytes([c, d]) == 1 {
                let number: [u8; 2] = rest.get(4..6).context("a short answer")?.try_into()?;
                return Ok(Self {
                    family: u16::from_ne_bytes(number),
                });
            }
            ensure!(length >= 4, "an attribute without a length");
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        anyhow::bail!("the kernel names MPTCP's path manager without its number")
    }
}
