//! What ties a committed kernel object to its sources: the table of objects, the fingerprint of the sources, and the
//! lock file that records both.
//!
//! This file stands once and is compiled twice: into monitor's build script, which refuses a stale object, and into
//! xtask, which builds objects and writes the lock. So it uses nothing but std, `sha2` and `toml`, and its errors are
//! plain sentences.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml::{Table, Value};

/// One committed kernel object.
#[derive(Debug)]
pub(crate) struct Object {
    /// Architecture of the kernel that loads it, as Rust names it (`CARGO_CFG_TARGET_ARCH`).
    pub(crate) arch: &'static str,
    /// File name below `monitor/bpf/`.
    pub(crate) file: &'static str,
    /// The Rust target it is built for.
    #[allow(dead_code, reason = "read by xtask, not by the build script")]
    pub(crate) target: &'static str,
}

/// Every object there is: a further architecture is one more line.
pub(crate) const OBJECTS: &[Object] = &[Object {
    arch: "x86_64",
    file: "portreeve-x86_64.bpf.o",
    target: "bpfel-unknown-none",
}];

/// Folder of the objects and of the lock, below the workspace's root.
pub(crate) const FOLDER: &str = "monitor/bpf";

/// What an object is made of, by name: a file's path, a package of Cargo.lock, or a section of Cargo.toml; the value is
/// a SHA-256 in hex.
pub(crate) type Fingerprint = BTreeMap<String, String>;

/// The lock file, `monitor/bpf/lock.toml`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lock {
    /// Versions of `rustc`, `llvm` and `linker` that built the objects.
    pub(crate) toolchain: BTreeMap<String, String>,
    /// SHA-256 of each object, in hex, by file name.
    pub(crate) objects: BTreeMap<String, String>,
    /// What the objects were made of.
    pub(crate) sources: Fingerprint,
}

/// The object for an architecture, or a sentence that says which there are.
pub(crate) fn object_for(arch: &str) -> Result<&'static Object, String> {
    OBJECTS.iter().find(|object| object.arch == arch).ok_or_else(|| {
        let known: Vec<&str> = OBJECTS.iter().map(|object| object.arch).collect();
        format!(
            "portreeve has no kernel object for {arch}, only for {}; build for one of these",
            known.join(", ")
        )
    })
}

/// SHA-256 of bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Path of the lock file.
pub(crate) fn lock_path(root: &Path) -> PathBuf {
    root.join(FOLDER).join("lock.toml")
}

/// The files and folders that the fingerprint reads, relative to the workspace's root.
#[allow(dead_code, reason = "read by the build script, not by xtask")]
pub(crate) const INPUTS: &[&str] = &["monitor-ebpf", "monitor-common", "Cargo.lock", "Cargo.toml"];

/// Fingerprint of the sources as they are now below `root`.
///
/// # Errors
/// A sentence that names the file that cannot be read or understood.
pub(crate) fn fingerprint(root: &Path) -> Result<Fingerprint, String> {
    let mut sources = Fingerprint::new();
    for package in ["monitor-ebpf", "monitor-common"] {
        for file in ["Cargo.toml", "build.rs"] {
            let name = format!("{package}/{file}");
            if root.join(&name).is_file() {
                sources.insert(name.clone(), sha256(&read(&root.join(&name))?));
            }
        }
        add_rust_files(root, Path::new(package).join("src").as_path(), &mut sources)?;
    }
    add_packages(&parse(&root.join("Cargo.lock"))?, &mut sources);
    add_sections(&parse(&root.join("Cargo.toml"))?, &mut sources);
    Ok(sources)
}

fn add_rust_files(root: &Path, folder: &Path, sources: &mut Fingerprint) -> Result<(), String> {
    let listing = root.join(folder);
    let entries = fs::read_dir(&listing).map_err(|e| format!("cannot list {}: {e}", listing.display()))?;
    for entry in entries {
        let entry = entry.map_err(|e| format!("cannot list {}: {e}", listing.display()))?;
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            add_rust_files(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.insert(path.display().to_string(), sha256(&read(&entry.path())?));
        }
    }
    Ok(())
}

/// The packages of Cargo.lock that end up in the object: aya's kernel side, and what monitor-ebpf names itself. What
/// runs only on the host while it is built (syn, quote and the like) is left out.
fn add_packages(cargo_lock: &Table, sources: &mut Fingerprint) {
    let packages: Vec<&Table> = cargo_lock
        .get("package")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_table)
        .collect();
    let text = |package: &Table, key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    // A dependency reads "name", or "name version" where there are several versions.
    let direct: Vec<String> = packages
        .iter()
        .filter(|package| text(package, "name") == "monitor-ebpf")
        .filter_map(|package| package.get("dependencies").and_then(Value::as_array))
        .flatten()
        .filter_map(|dependency| dependency.as_str()?.split(' ').next().map(str::to_owned))
        .collect();
    for package in packages {
        let name = text(package, "name");
        let from_a_registry = package.contains_key("checksum");
        let of_the_kernel_side = name.starts_with("aya-ebpf")
            || name.starts_with("aya-log-")
            || name == "aya-build"
            || direct.contains(&name);
        if of_the_kernel_side && from_a_registry {
            sources.insert(
                format!("Cargo.lock {name} {}", text(package, "version")),
                text(package, "checksum"),
            );
        }
    }
}

/// The parts of Cargo.toml that change the object: its profile, the profile that it inherits, and the edition. (The
/// version does not: two objects of two versions were compared.)
fn add_sections(cargo_toml: &Table, sources: &mut Fingerprint) {
    for path in [
        &["profile", "release"][..],
        &["profile", "bpf"],
        &["workspace", "package", "edition"],
    ] {
        let start = Value::Table(cargo_toml.clone());
        let part = path.iter().try_fold(&start, |value, key| value.get(*key));
        // A table prints in the order of its keys, without comments: only a change of meaning counts.
        if let Some(part) = part {
            sources.insert(
                format!("Cargo.toml {}", path.join(".")),
                sha256(part.to_string().as_bytes()),
            );
        }
    }
}

/// What differs between the sources of a lock and those of now: names, sorted.
pub(crate) fn changed(locked: &Fingerprint, now: &Fingerprint) -> Vec<String> {
    let mut names: Vec<String> = locked
        .iter()
        .filter(|(name, hash)| now.get(*name) != Some(hash))
        .map(|(name, _)| name.clone())
        .collect();
    names.extend(now.keys().filter(|name| !locked.contains_key(*name)).cloned());
    names.sort();
    names
}

impl Lock {
    /// Reads the lock file below `root`.
    ///
    /// # Errors
    /// A sentence, where it is missing or not TOML.
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let table = parse(&lock_path(root))?;
        let strings = |key: &str| -> BTreeMap<String, String> {
            let entries = table.get(key).and_then(Value::as_table).into_iter().flatten();
            entries
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect()
        };
        Ok(Self {
            toolchain: strings("toolchain"),
            objects: strings("objects"),
            sources: strings("sources"),
        })
    }

    /// The text of the lock file.
    #[allow(dead_code, reason = "written by xtask, not by the build script")]
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::from(
            "# Ties the kernel objects in this folder to their sources. Written by `cargo xtask ebpf`; do not edit.\n",
        );
        let sections = [
            ("toolchain", &self.toolchain),
            ("objects", &self.objects),
            ("sources", &self.sources),
        ];
        for (name, entries) in sections {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n[{name}]");
            for (key, value) in entries {
                let _ = writeln!(text, "{} = {}", Value::from(key.as_str()), Value::from(value.as_str()));
            }
        }
        text
    }
}

/// Says whether the committed object for `arch` still belongs to the sources below `root`; gives its path.
///
/// # Errors
/// One sentence: no object for this architecture, sources that changed, or an object that is not the locked one.
pub(crate) fn verified_object(root: &Path, arch: &str) -> Result<PathBuf, String> {
    let object = object_for(arch)?;
    let lock = Lock::read(root).map_err(|e| format!("{e}; run `cargo xtask ebpf`"))?;
    let differing = changed(&lock.sources, &fingerprint(root)?);
    if let Some(first) = differing.first() {
        let others = match differing.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        return Err(format!(
            "the kernel object is stale: {first}{others} changed since it was built; run `cargo xtask ebpf`"
        ));
    }
    let path = root.join(FOLDER).join(object.file);
    let hash = sha256(&read(&path).map_err(|e| format!("{e}; run `cargo xtask ebpf`"))?);
    if lock.objects.get(object.file) != Some(&hash) {
        return Err(format!(
            "{FOLDER}/{} is not the object that {FOLDER}/lock.toml names; restore it from version control, or run `cargo xtask ebpf`",
            object.file
        ));
    }
    Ok(path)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn parse(path: &Path) -> Result<Table, String> {
    let bytes = read(path)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))?;
    text.parse()
        .map_err(|e: toml::de::Error| format!("{} is not TOML: {}", path.display(), e.message()))
}
