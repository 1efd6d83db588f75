//! The toolchain for the kernel side: a rustc that has `core` for the BPF target, and the bpf-linker and llvm-strip of
//! the same LLVM.
//!
//! Tested is Debian's `rustc-web`, whose `core` for BPF is built already, so that no nightly is needed. Where a machine
//! has no such package, rustup's nightly with `rust-src` and a bpf-linker on `PATH` are taken.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, find_program, output, run_logged, with_retries};
use crate::say;
use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

/// bpf-linker's release; its LLVM is chosen by rustc's.
const LINKER_VERSION: &str = "0.13.0";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none";

/// Programs that build the kernel side.
#[derive(Debug)]
pub(crate) struct BpfToolchain {
    /// The compiler.
    pub(crate) rustc: PathBuf,
    /// `core` must be built along: the compiler brings only its source.
    pub(crate) build_core: bool,
    /// bpf-linker, built with the compiler's LLVM.
    pub(crate) linker: PathBuf,
    /// llvm-strip of that LLVM.
    pub(crate) strip: PathBuf,
    /// Versions of `rustc`, `llvm` and `linker`, for the lock file.
    pub(crate) versions: BTreeMap<String, String>,
}

/// Finds or installs the toolchain.
///
/// # Errors
/// One sentence that says what to install.
pub(crate) fn ensure(workspace: &Workspace) -> Result<BpfToolchain> {
    if !Path::new(DEBIAN_CORE).is_dir() && find_program("apt-get").is_none() {
        return from_rustup();
    }
    let why = "the kernel side";
    apt::ensure(
        workspace,
        &[
            Package::new("rustc-web", DEBIAN_RUSTC),
            Package::new("libstd-rust-web-dev-bpf", DEBIAN_CORE),
        ],
        why,
    )?;
    let (rustc_version, llvm) = versions_of(Path::new(DEBIAN_RUSTC))?;
    let major = llvm.split('.').next().unwrap_or_default();
    let prefix = format!("/usr/lib/llvm-{major}");
    // rustc writes the bitcode that the linker reads: their LLVM must be one.
    apt::ensure(
        workspace,
        &[
            Package::new(format!("llvm-{major}"), format!("{prefix}/bin/llvm-strip")),
            Package::new(format!("llvm-{major}-dev"), format!("{prefix}/include/llvm-c/Core.h")),
            Package::new(format!("libpolly-{major}-dev"), format!("{prefix}/lib/libPolly.a")),
            Package::new("libzstd-dev", "/usr/include/zstd.h"),
            Package::new("zlib1g-dev", "/usr/include/zlib.h"),
        ],
        why,
    )?;
    let linker = install_linker(workspace, &prefix, &llvm)?;
    let linker_version = output(Command::new(&linker).arg("--version"))?;
    Ok(BpfToolchain {
        rustc: DEBIAN_RUSTC.into(),
        build_core: false,
        linker,
        strip: Path::new(&prefix).join("bin/llvm-strip"),
        versions: named_versions(rustc_version, llvm, &linker_version),
    })
}

/// bpf-linker below `target/tools`, built where it is not there yet or belongs to another LLVM.
fn install_linker(workspace: &Workspace, llvm_prefix: &str, llvm: &str) -> Result<PathBuf> {
    let tools = workspace.tools();
    let linker = tools.join("bin/bpf-linker");
    let stamp = tools.join("bpf-linker.llvm");
    let wanted = format!("bpf-linker {LINKER_VERSION} LLVM {llvm}\n");
    if linker.is_file() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(linker);
    }
    let major = llvm.split('.').next().unwrap_or_default();
    say!("Building bpf-linker {LINKER_VERSION} for LLVM {llvm} below target/tools (once, about a minute)");
    with_retries("building bpf-linker", || {
        run_logged(
            cargo()
                .args([
                    "install",
                    "bpf-linker",
                    "--version",
                    LINKER_VERSION,
                    "--locked",
                    "--force",
                    "--no-default-features",
                ])
                .args(["--features", &format!("llvm-{major}"), "--root"])
                .arg(&tools)
                .arg("--target-dir")
                .arg(tools.join("build"))
                .env("LLVM_PREFIX", llvm_prefix)
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS"),
            &tools.join("bpf-linker.log"),
        )
    })?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(linker)
}

/// rustup's nightly, where Debian's package is not to be had.
fn from_rustup() -> Result<BpfToolchain> {
    let advice = "the kernel side needs Debian's packages rustc-web and libstd-rust-web-dev-bpf, or rustup's nightly with \
                  rust-src and, on PATH, bpf-linker and llvm-strip of nightly's LLVM";
    let rustc = output(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"])).context(advice)?;
    let (Some(linker), Some(strip)) = (find_program("bpf-linker"), find_program("llvm-strip")) else {
        bail!(advice)
    };
    let rustc = PathBuf::from(rustc.trim());
    let (rustc_version, llvm) = versions_of(&rustc)?;
    let linker_version = output(Command::new(&linker).arg("--version"))?;
    let versions = named_versions(rustc_version, llvm, &linker_version);
    Ok(BpfToolchain {
        rustc,
        build_core: true,
        linker,
        strip,
        versions,
    })
}

/// The compiler's own name and version, and its LLVM's version.
fn versions_of(rustc: &Path) -> Result<(String, String)> {
    let verbose = output(Command::new(rustc).arg("-vV"))?;
    let name = verbose.lines().next().unwrap_or_default().to_owned();
    let llvm = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    Ok((
        name,
        llvm.with_context(|| format!("{} does not say which LLVM it has", rustc.display()))?
            .to_owned(),
    ))
}

fn named_versions(rustc: String, llvm: String, linker: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("rustc".to_owned(), rustc),
        ("llvm".to_owned(), llvm),
        ("linker".to_owned(), linker.trim().to_owned()),
    ])
}

impl BpfToolchain {
    /// The folder of a compiler whose `core` is built along, from sources in that folder.
    fn sysroot(&self) -> Option<&Path> {
        self.rustc.parent()?.parent().filter(|_| self.build_core)
    }

    /// The installed sources of a `core` that was built elsewhere, if they are where its debug information says: then
    /// lines of them end up in the object, and it has other bytes than on a machine without them. These paths come
    /// with the compiler and cannot be remapped.
    pub(crate) fn core_sources(&self) -> Option<PathBuf> {
        let release = self.versions.get("rustc")?.split(' ').nth(1)?;
        let sources = PathBuf::from(format!("/usr/src/rustc-{release}/library"));
        (!self.build_core && sources.is_dir()).then_some(sources)
    }

    /// cargo with this compiler, for the packages below `root`, with reproducible paths in what it builds.
    ///
    /// # Errors
    /// Where cargo's home cannot be found or read.
    pub(crate) fn cargo(
        &self,
        root: &Path,
        target_folder: &Path,
        subcommand: &str,
        target: &str,
        arch: &str,
    ) -> Result<Command> {
        // With v3 the compiler reckons in 32 bits where that is enough, which kernels know since 5.1: fewer instructions.
        let mut flags: Vec<OsString> = ["-Ctarget-cpu=v3", "-Clink-arg=--btf", "-Cdebuginfo=2", "--cfg"]
            .map(OsString::from)
            .into();
        flags.push(format!("bpf_target_arch=\"{arch}\"").into());
        for (from, to) in remapped(root, target_folder, self.sysroot())? {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flags.push(flag);
        }
        let mut command = cargo();
        command
            .args([
                subcommand,
                "--locked",
                "--package",
                "monitor-ebpf",
                "--profile",
                "bpf",
                "--target",
                target,
            ])
            .arg("--target-dir")
            .arg(target_folder)
            .current_dir(root)
            .env("RUSTC", &self.rustc)
            // aya-ebpf asks for a feature that is unstable on this target; user space never needs this.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join(&OsString::from("\u{1f}")))
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTUP_TOOLCHAIN");
        if self.build_core {
            command.args(["-Z", "build-std=core"]);
        }
        Ok(command)
    }
}

/// Paths that would end up in the object, with what stands there instead. Later ones win where both fit.
///
/// What stands there must not exist: LLVM copies source lines into `.BTF.ext` from every path that it can open, and an
/// object that was built in a clone at that very path would have other bytes. Debian promises that nothing is ever in
/// /nonexistent.
fn remapped(root: &Path, target_folder: &Path, sysroot: Option<&Path>) -> Result<Vec<(PathBuf, &'static str)>> {
    let mut pairs = vec![
        (root.to_path_buf(), "/nonexistent/src"),
        (target_folder.to_path_buf(), "/nonexistent/target"),
    ];
    pairs.extend(sysroot.map(|sysroot| (sysroot.to_path_buf(), "/nonexistent/rust")));
    // One folder a registry, named after its host: the host must not show either.
    let sources = cargo_home()?.join("registry/src");
    let registries = fs::read_dir(&sources).with_context(|| format!("cannot list {}", sources.display()))?;
    for registry in registries {
        let registry = registry.with_context(|| format!("cannot list {}", sources.display()))?;
        pairs.push((registry.path(), "/nonexistent/deps"));
    }
    Ok(pairs)
}

/// cargo's home, where crates are unpacked.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("cannot find cargo's home; set CARGO_HOME")
}
