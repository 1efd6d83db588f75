//! What may be there.

use super::{Selector, UserIs};

/// An expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Its name.
    pub name: String,
    /// What may be there.
    pub selector: Selector,
}

impl Expect {
    /// A name for what has none: the program, unit, container or user, and the first port.
    pub fn name_of(selector: &Selector) -> String {
        let base = |text: &str| text.rsplit('/').next().unwrap_or(text).to_owned();
        let program = [&selector.exe, &selector.unit, &selector.container]
            .into_iter()
            .find_map(|globs| globs.first())
            .map(|glob| base(glob.as_str()))
            .or_else(|| selector.user.first().map(UserIs::to_string));
        let port = selector.named().first().map(|spec| spec.first.to_string());
        let parts: Vec<_> = program.into_iter().chain(port).collect();
        if parts.is_empty() {
            "expectation".to_owned()
        } else {
            parts.join("-")
        }
    }
}
