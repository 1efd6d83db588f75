//! Where the configuration comes from, so that it can be read again while the agent runs.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use super::{Chosen, Flags, Settings, file};

/// The files and the flags that a run was started with.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `--config.file`, in order.
    pub files: Vec<PathBuf>,
    /// Everything else.
    pub flags: Flags,
}

/// What the files looked like at one time: equal as long as nobody has changed, added or removed one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark(Vec<(PathBuf, Option<Look>)>);

/// What tells one state of a file from another: device, inode, size, and the times of content and inode in nanoseconds.
type Look = [i128; 5];

impl Sources {
    /// The configuration to start with. A registry file that is not sound is a remark, and the built-in one is used.
    ///
    /// # Errors
    /// One sentence on what is wrong with a file or a flag.
    pub fn read(&self) -> Result<(Settings, Chosen)> {
        let files = file::gather(&self.files);
        let chosen = files.names().open(&self.flags.paths.rootfs);
        self.settings(files, chosen)
    }

    /// The configuration to go on with: all of it, or none. A registry file that is not sound is an error.
    ///
    /// # Errors
    /// One sentence on what is wrong with a file or a flag.
    pub fn read_again(&self) -> Result<(Settings, Chosen)> {
        let files = file::gather(&self.files);
        match files.names().read(&self.flags.paths.rootfs) {
            Ok(chosen) => self.settings(files, chosen),
            Err(sentence) => bail!(sentence),
        }
    }

    fn settings(&self, files: file::Files, chosen: Chosen) -> Result<(Settings, Chosen)> {
        let names = files.names().clone();
        let file = files.resolve(&chosen.registry)?;
        let settings = Settings::new(file, self.flags.clone(), names, &chosen.registry)?;
        Ok((settings, chosen))
    }

    /// What the files look like now, with those of each `conf.d`.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let mut looks = Vec::new();
        for path in &self.files {
            looks.push((path.clone(), look(path)));
            // A folder that cannot be read now is told when the files are read.
            for beside in file::beside(path).unwrap_or_default() {
                let seen = look(&beside);
                looks.push((beside, seen));
            }
        }
        Mark(looks)
    }
}

/// What these files look like now.
pub(super) fn mark_of<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Mark {
    Mark(files.map(|path| (path.clone(), look(path))).collect())
}

/// Follows links: Kubernetes exchanges a folder behind the names of a ConfigMap's files.
fn look(path: &Path) -> Option<Look> {
    let file = fs::metadata(path).ok()?;
    let time = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    Some([
        file.dev().into(),
        file.ino().into(),
        file.size().into(),
        time(file.mtime(), file.mtime_nsec()),
        time(file.ctime(), file.ctime_nsec()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Paths;

    fn sources(file: PathBuf) -> Sources {
        Sources {
            files: vec![file],
            flags: Flags {
                watch: Vec::new(),
                listen: Vec::new(),
                systemd_socket: false,
                web_config: None,
                expose_api: false,
                telemetry_path: "/metrics".to_owned(),
                external_url: None,
                paths: Paths::default(),
                backend: None,
                ring_bytes: None,
                probe_stats: false,
                events: false,
                lifecycle: false,
                config_watch: false,
            },
        }
    }

    #[test]
    fn a_mark_changes_with_a_file_one_beside_it_and_the_target_of_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("one.toml"), "").unwrap();
        fs::write(at("two.toml"), "").unwrap();
        std::os::unix::fs::symlink(at("one.toml"), at("p.toml")).unwrap();
        let sources = sources(at("p.toml"));
        let mut before = sources.mark();
        let mut is_changed = || {
            let now = sources.mark();
            now != std::mem::replace(&mut before, now.clone())
        };
        assert!(!is_changed());
        fs::write(at("one.toml"), "[agent]\n").unwrap();
        assert!(is_changed() && !is_changed());
        fs::create_dir(at("conf.d")).unwrap();
        fs::write(at("conf.d/a.toml"), "").unwrap();
        assert!(is_changed());
        fs::remove_file(at("conf.d/a.toml")).unwrap();
        assert!(is_changed());
        std::os::unix::fs::symlink(at("two.toml"), at("new")).unwrap();
        fs::rename(at("new"), at("p.toml")).unwrap();
        assert!(is_changed() && !is_changed());
    }

    #[test]
    fn a_registry_that_is_not_sound_is_a_remark_at_the_start_and_an_error_later() {
        let folder = tempfile::tempdir().unwrap();
        let (registry, file) = (folder.path().join("registry.bin"), folder.path().join("p.toml"));
        fs::write(&registry, "nonsense").unwrap();
        fs::write(
            &file,
            format!("[registry]\npath = {:?}\n", registry.display().to_string()),
        )
        .unwrap();
        let sources = sources(file);
        assert_eq!(sources.read().unwrap().1.remarks.len(), 1);
        let error = sources.read_again().unwrap_err().to_string();
        assert!(error.starts_with("cannot use the registry in "), "{error}");
    }
}
