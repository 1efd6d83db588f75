//! A file is exchanged for another one, whole or not at all.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Everybody may read it: it is public, and `explain` is run by everybody.
const MODE: u32 = 0o644;

/// Writes `content` beside the file and puts it in its place; whoever reads meanwhile reads the one or the other.
///
/// # Errors
/// Where the place is no file's, or something cannot be written. What was there before stays then.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    // What a link leads to is exchanged, and not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target) {
        Ok(metadata) if !metadata.is_file() => bail!("cannot write to {}: it is no regular file", path.display()),
        _ => {}
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!(
            "cannot write to {}: there is no folder {}; make it first",
            path.display(),
            folder.display()
        );
    }
    let Some(name) = target.file_name() else {
        bail!("cannot write to {}: it names no file", path.display());
    };
    let mut beside = name.to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = folder.join(beside);
    write(&beside, &target, folder, content)
        .inspect_err(|_| {
            // It may not even have been made.
            let _ = fs::remove_file(&beside);
        })
        .with_context(|| format!("cannot write to {}, and what was there stays", path.display()))
}

fn write(beside: &PathBuf, target: &Path, folder: &Path, content: &[u8]) -> io::Result<()> {
    let _ = fs::remove_file(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).open(beside)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.sync_all()?;
    drop(file);
    fs::rename(beside, target)?;
    File::open(folder)?.sync_all()
}
