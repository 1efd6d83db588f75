//! One build of one kernel object, with bytes that depend on the sources and the toolchain alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::{Object as _, ObjectSection, ObjectSymbol, RelocationTarget, read as elf};

use crate::command::run;
use crate::lock::Object;
use crate::setup::bpf_toolchain::{BpfToolchain, cargo_home};

/// Builds the object from the sources below `root`; cargo works in `target_folder`. Gives the object's bytes.
///
/// # Errors
/// Where the build fails, or the object holds a path of this machine.
pub(crate) fn build(toolchain: &BpfToolchain, root: &Path, target_folder: &Path, object: &Object) -> Result<Vec<u8>> {
    run(toolchain
        .cargo(root, target_folder, "build", object.target, object.arch)?
        .arg("--quiet"))?;
    let built = target_folder.join(object.target).join("bpf/portreeve");
    let stripped = built.with_extension("bpf.o");
    // The linker keeps DWARF beside BTF: ten times the bytes, and of no use to the kernel. And what would move .BTF.ext, if the
    // object were linked once more: a third of what is left.
    run(Command::new(&toolchain.strip)
        .args(["--strip-debug", "--remove-section=.rel.BTF.ext"])
        .arg("-o")
        .arg(&stripped)
        .arg(&built))?;
    let bytes = fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
    refuse_traces_of_this_machine(&bytes, root, object)?;
    refuse_moves_of_bytes(&bytes, object)?;
    Ok(bytes)
}

/// What the compiler calls to copy or clear a value that it does not want to unroll: loops over single bytes, hundreds of
/// instructions in somebody's system call.
const MOVES: [&str; 4] = ["memcpy", "memmove", "memset", "memcmp"];

fn refuse_moves_of_bytes(bytes: &[u8], object: &Object) -> Result<()> {
    let file = elf::File::parse(bytes).with_context(|| format!("{} is no ELF file", object.file))?;
    for section in file.sections() {
        for (_, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                continue;
            };
            let symbol = file.symbol_by_index(index).context("a relocation without a symbol")?;
            let name = symbol.name().unwrap_or_default();
            if MOVES.contains(&name) {
                bail!(
                    "{}: {} calls {name}, which moves byte by byte: copy or clear word by word there",
                    object.file,
                    section.name().unwrap_or("a section")
                );
            }
        }
    }
    Ok(())
}

/// An object that names a folder or a registry of this machine differs on the next one, and tells what it should not.
fn refuse_traces_of_this_machine(bytes: &[u8], root: &Path, object: &Object) -> Result<()> {
    let home = cargo_home()?;
    let mut traces = vec![home.join("registry").display().to_string()];
    traces.extend(["monitor-ebpf", "monitor-common"].map(|package| root.join(package).display().to_string()));
    for registry in fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten() {
        traces.push(registry.file_name().to_string_lossy().into_owned());
    }
    match find_trace(bytes, &traces) {
        Some(text) => bail!(
            "{} would hold a path of this machine: {text}; it must be remapped",
            object.file
        ),
        None => Ok(()),
    }
}

/// Paths that no object may hold, whoever builds it.
const PRIVATE_FOLDERS: &[&str] = &["/home/", "/root/", "/tmp/", "/registry/src/", "\\Users\\", "/Users/"];

/// The first printable run of bytes that holds one of `traces` or a private folder.
fn find_trace(bytes: &[u8], traces: &[String]) -> Option<String> {
    bytes
        .split(|byte| !(b' '..=b'~').contains(byte))
        .filter(|run| run.len() >= 4)
        .find_map(|run| {
            let text = String::from_utf8_lossy(run);
            let found = PRIVATE_FOLDERS.iter().any(|folder| text.contains(folder))
                || traces.iter().any(|trace| text.contains(trace.as_str()));
            found.then(|| text.into_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::find_trace;

    #[test]
    fn a_home_in_an_object_is_found() {
        let found = find_trace(b"\x00\x01/home/someone/src/main.rs\x00", &[]);
        assert_eq!(found.as_deref(), Some("/home/someone/src/main.rs"));
    }

    #[test]
    fn the_workspace_of_this_machine_is_found() {
        let found = find_trace(
            b"abcd\x00/elsewhere/portreeve/monitor-ebpf\x00",
            &["/elsewhere/portreeve".to_owned()],
        );
        assert!(found.is_some());
    }

    #[test]
    fn remapped_paths_are_fine() {
        let bytes =
            b"\x7fELF\x00/nonexistent/src/monitor-ebpf/src/main.rs\x00/nonexistent/deps/aya-ebpf-0.2.1/src/lib.rs\x00";
        assert_eq!(find_trace(bytes, &["/elsewhere/portreeve".to_owned()]), None);
    }
}
