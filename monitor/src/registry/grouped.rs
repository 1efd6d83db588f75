//! Rows that differ in their transport alone are one for people.

use super::registration::{Registration, Transport};

/// Rows that differ in their transport alone, as most pairs of a tcp and a udp row do.
#[derive(Clone, Debug)]
pub struct Grouped<'a> {
    /// The first of them.
    pub registration: Registration<'a>,
    /// In the registry's order; empty where the row names none and so speaks of all.
    pub transports: Vec<Transport>,
}

/// Puts rows together that differ in their transport alone; the order of the first of each is kept.
pub fn grouped<'a>(rows: impl Iterator<Item = Registration<'a>>) -> Vec<Grouped<'a>> {
    let mut groups: Vec<Grouped<'a>> = Vec::new();
    for registration in rows {
        // Rows come by port, so that the row to join is among the last few.
        let port = registration.ports().map(|ports| ports.first);
        let mut beside = groups
            .iter_mut()
            .rev()
            .take_while(|group| group.registration.ports().map(|ports| ports.first) == port);
        match beside.find(|group| group.registration.differs_in_transport_only(&registration)) {
            Some(group) => group.transports.extend(registration.transport()),
            None => groups.push(Grouped {
                registration,
                transports: registration.transport().into_iter().collect(),
            }),
        }
    }
    groups
}
