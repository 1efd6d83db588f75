//! Node.js with its npm, for the check of dashboards against Grafana's types. They are not installed here: they are large, and
//! serve this alone.

use anyhow::{Result, bail};

use crate::command::find_program;

/// Makes sure that both are there.
///
/// # Errors
/// One sentence that says what to install.
pub(crate) fn ensure() -> Result<()> {
    for program in ["node", "npm"] {
        if find_program(program).is_none() {
            bail!(
                "the types of dashboards are checked by TypeScript, and there is no {program} here; install Node.js 20 or newer"
            );
        }
    }
    Ok(())
}
