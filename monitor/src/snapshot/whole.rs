//! temporary
use super::{ListeningSocket, Unseen};
use crate::identity::Paths;
/// x
pub struct Whole {
    /// x
    pub sockets: Vec<Found>,
    /// x
    pub namespaces: Vec<Namespace>,
}
/// x
pub struct Found {
    /// x
    pub netns: u32,
    /// x
    pub socket: ListeningSocket,
    /// x
    pub holders: Vec<Holder>,
}
/// x
pub struct Holder {
    /// x
    pub pid: u32,
    /// x
    pub comm: String,
    /// x
    pub start_ticks: u64,
}
/// x
pub struct Namespace {
    /// x
    pub netns: u32,
    /// x
    pub seen: Result<(), Unseen>,
}
/// x
pub struct Looker;
impl Looker {
    /// x
    pub fn new(_: &Paths) -> Self {
        Self
    }
    /// x
    pub fn sockets(&mut self) -> Whole {
        Whole {
            sockets: vec![],
            namespaces: vec![],
        }
    }
    /// x
    pub fn look(&mut self) -> Whole {
        Whole {
            sockets: vec![],
            namespaces: vec![],
        }
    }
}
