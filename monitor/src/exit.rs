//! The exit codes of the contract, and the errors that choose them.

use std::fmt;

/// Everything went well.
pub const OK: u8 = 0;
/// Something failed; stderr says what.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
pub const CONFIG: u8 = 78;

/// A wrong command line: the sentence for the user.
#[derive(Debug)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// A wrong configuration: the sentence for the user, with file and line.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The exit code that an error asks for.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() {
        USAGE
    } else if error.is::<ConfigError>() {
        CONFIG
    } else {
        FAILED
    }
}
