//! `cargo xtask registry`: makes the agent's embedded registry from IANA's CSV.
//!
//! The CSV lies in the crate `port-desc`, which cargo fetches and Cargo.lock pins by checksum; nothing of its code is
//! used. Out come `monitor/data/registry.bin`, in the layout that [`format`] describes and shares with the agent, and
//! `monitor/data/registry.lock`, which says in text what it was made from, so that a change of the table can be
//! reviewed. Both depend on the CSV alone: the same rows give the same bytes.

#[path = "../../monitor/src/registry/format.rs"]
mod format;

// What reads IANA's files is the agent's own too. xtask must not depend on the crate `monitor`.
#[path = "../../monitor/src/registry/import/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the agent reads IANA's XML as well")]
mod import;

// The agent's own reader proves that nothing is lost on the way.
#[cfg(test)]
#[path = "../../monitor/src/registry/registration.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the test reads rows back and needs a part of it"
)]
mod registration;
#[cfg(test)]
#[path = "../../monitor/src/registry/table.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the test reads rows back and needs a part of it"
)]
mod table;

use anyhow::{Context, ensure};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lock::sha256;
use import::{Origin, encode, newest_date};

/// The crate that carries the CSV, and where it does.
const CRATE: &str = "port-desc";
const CSV_IN_CRATE: &str = "assets/service-names-port-numbers.csv";

/// Writes `monitor/data/` below the workspace's `root`, or with `check` compares it with what would be written.
///
/// # Errors
/// A CSV that cannot be found, a row that cannot be read (with its line), or, with `check`, data that differ.
pub(crate) fn generate(root: &Path, check: bool) -> anyhow::Result<()> {
    let (version, folder) = locate(root)?;
    let csv_path = folder.join(CSV_IN_CRATE);
    let csv = std::fs::read(&csv_path).with_context(|| format!("cannot read {}", csv_path.display()))?;
    let rows = import::read(&csv)
        .and_then(|rows| import::plausible(&rows).map(|()| rows))
        .with_context(|| format!("cannot use {CSV_IN_CRATE} of {CRATE} {version}"))?;
    let csv_sha256 = sha256(&csv);
    let origin = Origin {
        name: CRATE,
        version: &version,
        date: newest_date(&rows),
        sha256: &csv_sha256,
    };
    let table = encode(&rows, &origin)?;
    let lock = describe(rows.len(), &origin, &table)?;
    let data = root.join("monitor/data");
    for (name, content) in [("registry.bin", table.as_slice()), ("registry.lock", lock.as_bytes())] {
        if check {
            compare(&data.join(name), content)
                .with_context(|| format!("monitor/data/{name} is not what {CRATE} {version} gives"))?;
        } else {
            std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
            let path = data.join(name);
            std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    println!(
        "registry: {} rows of {} from {CRATE} {version}, {} bytes{}",
        rows.len(),
        origin.date,
        table.len(),
        if check { ", as committed" } else { "" }
    );
    Ok(())
}

/// An error where a committed file is not `content`, with what to do about it.
fn compare(committed: &Path, content: &[u8]) -> anyhow::Result<()> {
    let found = std::fs::read(committed).with_context(|| format!("cannot read {}", committed.display()))?;
    ensure!(found == content, "run `cargo xtask registry` and commit monitor/data");
    Ok(())
}

/// Version and folder of the crate that carries the CSV, as Cargo.lock pins it.
fn locate(root: &Path) -> anyhow::Result<(String, PathBuf)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata to find the registry's CSV")?;
    ensure!(
        output.status.success(),
        "cargo metadata cannot say where {CRATE} lies: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata printed")?;
    let package = metadata
        .get("packages")
        .and_then(|packages| packages.as_array())
        .and_then(|packages| {
            packages
                .iter()
                .find(|package| package.get("name").is_some_and(|name| name == CRATE))
        })
        .with_context(|| format!("the workspace does not depend on {CRATE}, which carries the registry's CSV"))?;
    let text = |key: &str| {
        let value = package.get(key).and_then(|value| value.as_str());
        value.with_context(|| format!("cargo metadata does not say the {key} of {CRATE}"))
    };
    let manifest = Path::new(text("manifest_path")?);
    let folder = manifest
        .parent()
        .with_context(|| format!("{} has no folder", manifest.display()))?;
    Ok((text("version")?.to_owned(), folder.to_owned()))
}

/// The text beside the table: what it was made from.
fn describe(rows: usize, origin: &Origin<'_>, table: &[u8]) -> anyhow::Result<String> {
    let mut lock = String::from(
        "# Made by `cargo xtask registry`, checked by `cargo xtask registry --check`. Do not edit.\n\
         # The content is IANA's Service Name and Transport Protocol Port Number Registry (CC0).\n",
    );
    writeln!(lock, "source = \"{} {}\"", origin.name, origin.version)?;
    writeln!(lock, "csv_sha256 = \"{}\"", origin.sha256)?;
    writeln!(lock, "date = \"{}\"", origin.date)?;
    writeln!(lock, "rows = {rows}")?;
    writeln!(lock, "table_sha256 = \"{}\"", sha256(table))?;
    writeln!(lock, "table_bytes = {}", table.len())?;
    Ok(lock)
}

#[cfg(test)]
mod tests;
