//! Test kernels: Debian's cloud kernels, fetched with an apt state of their own, so that the machine's sources, lists
//! and packages stay as they are. Signatures are checked, and the mirror is the one that the machine's apt uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{find_program, output, run_logged, with_retries};
use crate::say;
use crate::setup::apt::{self, Package};
use crate::workspace::{Workspace, empty};

/// One test kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The name it goes by on the command line and in reports.
    pub(crate) label: &'static str,
    /// Booted without `--full`.
    pub(crate) by_default: bool,
    /// Also booted without INET_DIAG.
    pub(crate) also_without_inet_diag: bool,
    /// What the version in the package's name starts with; empty takes the newest.
    series: &'static str,
    /// Release of Debian that the version in the package's name ends with, if it says so.
    release: &'static str,
}

/// The kernels, oldest first. Builds are never pinned: mirrors drop old ones.
pub(crate) const KERNELS: &[Kernel] = &[
    // bullseye-security
    Kernel {
        label: "5.10",
        by_default: true,
        also_without_inet_diag: true,
        series: "5.10.0-",
        release: "",
    },
    // bookworm-security
    Kernel {
        label: "6.1",
        by_default: false,
        also_without_inet_diag: false,
        series: "6.1.0-",
        release: "",
    },
    // bookworm-security, source linux-6.12
    Kernel {
        label: "6.12",
        by_default: true,
        also_without_inet_diag: true,
        series: "6.12.",
        release: "+deb12",
    },
    // trixie-backports; will go away
    Kernel {
        label: "6.18",
        by_default: false,
        also_without_inet_diag: false,
        series: "6.18.",
        release: "+deb13",
    },
    // the newest of trixie-backports
    Kernel {
        label: "new",
        by_default: true,
        also_without_inet_diag: false,
        series: "",
        release: "+deb13",
    },
];

/// Modules that guests get, in the order in which they load. A kernel that has one built in has no file for it.
const MODULES: &[&str] = &["inet_diag", "tcp_diag", "udp_diag", "veth", "dummy"];

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// What the boot loader loads.
    pub(crate) vmlinuz: PathBuf,
    /// Version, as `uname -r` shows it.
    pub(crate) version: String,
    /// Modules, unpacked, in the order in which they load.
    pub(crate) modules: Vec<PathBuf>,
}

/// The kernel of a label.
///
/// # Errors
/// Names the labels there are.
pub(crate) fn named(label: &str) -> Result<&'static Kernel> {
    KERNELS.iter().find(|kernel| kernel.label == label).with_context(|| {
        let labels: Vec<&str> = KERNELS.iter().map(|kernel| kernel.label).collect();
        format!("no test kernel is called {label}; there are {}", labels.join(", "))
    })
}

/// Gives each kernel out of the cache below `target/kernels`, fetching what is not there. One that cannot be had is an
/// error of its own.
pub(crate) fn ensure(workspace: &Workspace, kernels: &[&'static Kernel]) -> Vec<Result<Fetched>> {
    let folder = workspace.target.join("kernels");
    let mut archive = None;
    let fetched = kernels.iter().map(|kernel| {
        let place = folder.join(kernel.label);
        // Written last: a kernel without it was fetched in part.
        if !place.join("version").is_file() {
            if archive.is_none() {
                archive = Some(Archive::open(workspace, &folder).map_err(|error| format!("{error:#}")));
            }
            match &archive {
                Some(Ok(archive)) => archive.fetch(kernel, &place)?,
                Some(Err(error)) => bail!("{error}"),
                None => {}
            }
        }
        cached(&place)
    });
    let fetched = fetched.collect();
    // The lists are large and soon old.
    let _ = fs::remove_dir_all(folder.join("apt"));
    fetched
}

/// The kernel out of the cache alone.
///
/// # Errors
/// Where it has not been fetched.
pub(crate) fn in_cache(workspace: &Workspace, kernel: &Kernel) -> Result<Fetched> {
    cached(&workspace.target.join("kernels").join(kernel.label))
}

fn cached(place: &Path) -> Result<Fetched> {
    let version =
        fs::read_to_string(place.join("version")).with_context(|| format!("cannot read {}", place.display()))?;
    let modules = MODULES
        .iter()
        .map(|name| place.join("modules").join(format!("{name}.ko")))
        .filter(|file| file.is_file());
    Ok(Fetched {
        vmlinuz: place.join("vmlinuz"),
        version: version.trim().to_owned(),
        modules: modules.collect(),
    })
}

/// Debian's archive, as a private apt state sees it.
struct Archive {
    folder: PathBuf,
    options: Vec<String>,
    names: Vec<String>,
}

impl Archive {
    fn open(workspace: &Workspace, kernels: &Path) -> Result<Self> {
        if find_program("apt-get").is_none() {
            bail!("test kernels are Debian packages, and this machine has no apt-get; run this on Debian 12");
        }
        apt::ensure(workspace, &[Package::new("xz-utils", "xz")], "unpacking kernel modules")?;
        say!("Fetching test kernels into target/kernels (with an apt state of their own)");
        let folder = kernels.join("apt");
        for part in ["lists/partial", "cache/archives/partial", "debs"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
        }
        let (debian, security) = (apt::site("debian")?, apt::site("debian-security")?);
        let key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
        let sources = format!(
            "deb {key} {security} bullseye-security main\ndeb {key} {security} bookworm-security main\n\
             deb {key} {debian} trixie-backports main\n"
        );
        let list = folder.join("sources.list");
        fs::write(&list, sources).with_context(|| format!("cannot write {}", list.display()))?;
        let at = |part: &str| folder.join(part).display().to_string();
        let settings = [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=2".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ];
        let options: Vec<String> = settings
            .into_iter()
            .flat_map(|setting| ["-o".to_owned(), setting])
            .collect();
        let mut archive = Self {
            folder,
            options,
            names: Vec::new(),
        };
        let log = kernels.join("apt.log");
        with_retries("reading Debian's kernel packages", || {
            run_logged(archive.apt("apt-get").args(["-q", "update"]), &log)
        })?;
        let names = output(archive.apt("apt-cache").args(["pkgnames", "linux-"]))?;
        archive.names = names.lines().map(str::to_owned).collect();
        Ok(archive)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }

    fn fetch(&self, kernel: &Kernel, place: &Path) -> Result<()> {
        let version = newest(&self.names, kernel)
            .with_context(|| format!("Debian's archive has no kernel {} any more; leave it out", kernel.label))?;
        // From 6.19 on, the image's package is an empty one that depends on these.
        let parts = ["image", "binary", "modules", "base"].map(|part| format!("linux-{part}-{version}"));
        let packages: Vec<&String> = parts.iter().filter(|part| self.names.contains(part)).collect();
        let debs = self.folder.join("debs");
        let tree = self.folder.join("tree");
        for folder in [&debs, &tree, &place.to_path_buf()] {
            empty(folder)?;
        }
        let log = self.folder.with_file_name("apt.log");
        with_retries("fetching a kernel", || {
            run_logged(
                self.apt("apt-get")
                    .args(["-q", "download"])
                    .args(&packages)
                    .current_dir(&debs),
                &log,
            )
        })?;
        for deb in files_below(&debs)? {
            run_logged(Command::new("dpkg").arg("-x").arg(&deb).arg(&tree), &log)?;
        }
        self.keep(&tree, &version, place)?;
        empty(&debs)?;
        empty(&tree)?;
        let file = place.join("version");
        fs::write(&file, &version).with_context(|| format!("cannot write {}", file.display()))?;
        say!("    {}: {version}", kernel.label);
        Ok(())
    }

    /// Puts what guests need of an unpacked kernel into the cache.
    fn keep(&self, tree: &Path, version: &str, place: &Path) -> Result<()> {
        let files = files_below(tree)?;
        let named = |name: &str| {
            files
                .iter()
                .find(|file| file.file_name().is_some_and(|found| found == name))
        };
        let image = named(&format!("vmlinuz-{version}")).or_else(|| named("vmlinuz"));
        let image = image.with_context(|| format!("the packages of {version} hold no vmlinuz"))?;
        fs::copy(image, place.join("vmlinuz")).with_context(|| format!("cannot copy {}", image.display()))?;
        let modules = place.join("modules");
        fs::create_dir_all(&modules).with_context(|| format!("cannot create {}", modules.display()))?;
        for module in MODULES {
            let file = format!("{module}.ko");
            let to = modules.join(&file);
            if let Some(plain) = named(&file) {
                fs::copy(plain, &to).with_context(|| format!("cannot copy {}", plain.display()))?;
            } else if let Some(packed) = named(&format!("{file}.xz")) {
                let bytes = Command::new("xz")
                    .arg("-dc")
                    .arg(packed)
                    .stderr(Stdio::inherit())
                    .output();
                let bytes = bytes.context("cannot start xz; install xz-utils")?;
                if !bytes.status.success() {
                    bail!("xz cannot unpack {}", packed.display());
                }
                fs::write(&to, bytes.stdout).with_context(|| format!("cannot write {}", to.display()))?;
            }
        }
        Ok(())
    }
}

/// The newest version that the archive has of a kernel: the part of the package's name after `linux-image-`.
fn newest(names: &[String], kernel: &Kernel) -> Option<String> {
    const FLAVOUR: &str = "-cloud-amd64";
    let versions = names.iter().filter_map(|name| {
        let version = name.strip_prefix("linux-image-")?;
        let number = version.strip_suffix(FLAVOUR)?;
        let of_the_release = kernel.release.is_empty() || number.contains(kernel.release);
        (number.starts_with(kernel.series) && of_the_release && !number.contains("rc")).then_some(version)
    });
    versions.max_by_key(|version| numbers(version)).map(str::to_owned)
}

/// The numbers in a version, in order: `6.12.9` is older than `6.12.117`.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// All files below a folder, links left out.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let kind = entry
                .file_type()
                .with_context(|| format!("cannot read {}", entry.path().display()))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::{named, newest};

    fn of_archive(names: &[&str], label: &str) -> Option<String> {
        let names: Vec<String> = names.iter().map(|name| format!("linux-image-{name}")).collect();
        newest(&names, named(label).unwrap())
    }

    #[test]
    fn the_newest_build_of_a_series_is_found_by_number() {
        let names = [
            "5.10.0-9-cloud-amd64",
            "5.10.0-41-cloud-amd64",
            "5.10.0-50-amd64",
            "5.10.0-60-cloud-arm64",
        ];
        assert_eq!(of_archive(&names, "5.10").as_deref(), Some("5.10.0-41-cloud-amd64"));
    }

    #[test]
    fn the_newest_of_all_is_of_the_backports_and_not_of_another_release() {
        let names = [
            "6.18.15+deb13-cloud-amd64",
            "7.3.4+deb13-cloud-amd64",
            "8.1.0+deb14-cloud-amd64",
            "6.12.117+deb12-cloud-amd64",
        ];
        assert_eq!(of_archive(&names, "new").as_deref(), Some("7.3.4+deb13-cloud-amd64"));
        assert_eq!(
            of_archive(&names, "6.12").as_deref(),
            Some("6.12.117+deb12-cloud-amd64")
        );
    }

    #[test]
    fn a_series_that_the_archive_dropped_is_not_replaced_by_another() {
        assert_eq!(
            of_archive(&["7.3.4+deb13-cloud-amd64", "6.1.0-3-cloud-amd64"], "6.18"),
            None
        );
    }

    #[test]
    fn an_unknown_label_is_refused_with_the_known_ones() {
        let error = named("4.4").unwrap_err().to_string();
        assert!(
            error.contains("4.4") && error.contains("5.10, 6.1, 6.12, 6.18, new"),
            "{error}"
        );
    }
}
