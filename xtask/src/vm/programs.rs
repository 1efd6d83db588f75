//! Programs and files that a guest gets besides its own: dynamic ones of this machine with the libraries that they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::vm::initramfs::Initramfs;

/// Files by the path that they have in the guest, without the slash at its beginning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    /// Static programs, each with its source.
    programs: BTreeMap<String, PathBuf>,
    /// Files of this machine that keep their path.
    kept: BTreeSet<PathBuf>,
    texts: BTreeMap<String, String>,
}

impl Programs {
    /// Adds a program that needs no library.
    pub(crate) fn program(&mut self, name: &str, source: &Path) {
        self.programs.insert(name.to_owned(), source.to_path_buf());
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, name: &str, text: String) {
        self.texts.insert(name.to_owned(), text);
    }

    /// Adds a dynamic program of this machine and its libraries, all at the paths that they have here.
    ///
    /// # Errors
    /// Where `ldd` is missing, or a library is.
    pub(crate) fn with_libraries(&mut self, program: &Path) -> Result<()> {
        self.kept.insert(program.to_path_buf());
        let output = Command::new("ldd")
            .arg(program)
            .stdin(Stdio::null())
            .output()
            .context("cannot start ldd; install libc-bin")?;
        if !output.status.success() {
            bail!(
                "`ldd {}` failed ({}): {}",
                program.display(),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        let found = libraries(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("{} does not run here either", program.display()))?;
        self.kept.extend(found);
        Ok(())
    }

    /// Writes everything, with the folders that it lies in.
    ///
    /// # Errors
    /// Where a file cannot be read, a program is not static that should be, or the archive cannot be written.
    pub(super) fn add_to<W: Write>(&self, archive: &mut Initramfs<W>) -> Result<()> {
        let kept: BTreeMap<String, &PathBuf> = self
            .kept
            .iter()
            .map(|path| (path.display().to_string().trim_start_matches('/').to_owned(), path))
            .collect();
        let names = self.programs.keys().chain(self.texts.keys()).chain(kept.keys());
        let folders: BTreeSet<&str> = names.flat_map(|name| parents(name)).collect();
        archive.folders(&folders.into_iter().collect::<Vec<_>>())?;
        for (name, source) in &self.programs {
            archive.program(name, source)?;
        }
        for (name, source) in kept {
            let content = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
            archive.file(&name, 0o755, &content)?;
        }
        for (name, text) in &self.texts {
            archive.file(name, 0o644, text.as_bytes())?;
        }
        Ok(())
    }
}

/// The folders above a path, the outermost first.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').filter_map(|(at, _)| name.get(..at))
}

/// The files in what `ldd` prints: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader. The vDSO has no file.
fn libraries(printed: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in printed.lines() {
        let line = line.trim();
        if line.ends_with("=> not found") {
            bail!("a library is missing: {line}");
        }
        let path = line.rsplit("=> ").next().unwrap_or_default();
        let path = path.split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{libraries, parents};

    #[test]
    fn libraries_and_the_loader_are_found() {
        let printed = "\tlinux-vdso.so.1 (0x00007f96)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f97)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f98)\n";
        let expected = ["/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(printed).unwrap(), expected.map(PathBuf::from));
        assert!(libraries("\tlibx.so => not found\n").is_err());
        assert!(libraries("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn a_path_lies_in_every_folder_above_it() {
        let above: Vec<&str> = parents("usr/lib/x/y.so").collect();
        assert_eq!(above, ["usr", "usr/lib", "usr/lib/x"]);
    }
}
