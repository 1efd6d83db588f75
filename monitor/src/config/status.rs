//! `status` of a rule: ports by what the registry says of them.

use super::document::nearest;
use crate::registry::{Meaning, PortSpec, Registry};

/// Reads one word of the list.
///
/// # Errors
/// One sentence with the nearest word, or with all of them.
pub(super) fn meaning(word: &str) -> Result<Meaning, String> {
    let names = Meaning::ALL.map(Meaning::name);
    Meaning::from_name(word).ok_or_else(|| {
        let word = word.escape_debug();
        match nearest(&word.to_string(), &names) {
            Some(name) => format!("`{word}` is no status; did you mean `{name}`?"),
            None => format!("`{word}` is no status; there are {}", names.join(", ")),
        }
    })
}

/// The ports of a rule, and whether it names them (see [`crate::policy::Rule::names_ports`]). With a status, of its ports
/// those that have it; without ports, all that have it.
pub(super) fn select(ports: Vec<PortSpec>, meanings: &[Meaning], registry: &Registry) -> (Vec<PortSpec>, bool) {
    if meanings.is_empty() {
        return (ports, true);
    }
    let within = (!ports.is_empty()).then_some(ports.as_slice());
    let names_ports = within.is_some() || !meanings.iter().any(|meaning| meaning.is_common());
    (registry.ports_of(meanings, within), names_ports)
}
