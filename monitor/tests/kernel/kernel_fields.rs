//! A kernel that lacks a field: the load fails, and says which.

use super::{
    Named, Test,
    agent::{file, output},
};

/// The tests, by name.
pub const ALL: &[Named] = &[(
    "a_load_without_one_of_the_kernel_fields_names_it_trap_38_63",
    each_field_is_named,
)];

macro_rules! names {
    ($($kind:ident $name:ident: $structure:literal, $path:literal;)*) => {
        const FIELDS: &[(&str, &str, &str)] = &[$(($structure, $path, stringify!($kind))),*];
    };
}
monitor_common::for_each_kernel_field!(names);

fn each_field_is_named() -> Test {
    let whole = std::fs::read("/sys/kernel/btf/vmlinux")?;
    // `struct btf_header` of include/uapi/linux/btf.h: hdr_len, str_off. Before the strings may be the same bytes.
    let word = |at: usize| -> Result<usize, Box<dyn std::error::Error>> {
        let bytes = whole.get(at..at + 4).ok_or("a BTF without a header")?;
        Ok(usize::try_from(u32::from_le_bytes(bytes.try_into()?))?)
    };
    let strings = word(4)? + word(16)?;
    for (structure, path, _) in FIELDS.iter().filter(|(.., kind)| *kind != "maybe") {
        let mut without = whole.clone();
        let mut found = false;
        for alternative in path.split('|') {
            let member = alternative.rsplit('.').next().unwrap_or(alternative);
            let wanted = format!("\0{member}\0");
            let table = whole.get(strings..).ok_or("a BTF without strings")?;
            // In the string table every name stands once, so this takes the field out of its struct.
            if let Some(at) = table.windows(wanted.len()).position(|bytes| bytes == wanted.as_bytes()) {
                *without.get_mut(strings + at + 1).ok_or("no byte")? = b'~';
                found = true;
            }
        }
        if !found {
            return Err(format!("no {path} in the BTF").into());
        }
        let member = path.rsplit('.').next().unwrap_or(path);
        let (folder, _) = file("kernel/btf/vmlinux", &without)?;
        let sysfs = folder.path().to_str().ok_or("a path that is not UTF-8")?;
        let output = output(&["run", "--check", "--path.sysfs", sysfs])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Several fields may lie below one name; the first of them is named.
        let named = FIELDS.iter().any(|(structure, path, _)| {
            path.split('.').any(|part| part == member) && said.contains(&format!("{structure}.{path}"))
        });
        if output.status.code() != Some(1) || !named || said.trim().lines().count() != 1 {
            return Err(format!("without {structure}.{path}: {}: {said}", output.status).into());
        }
    }
    Ok(())
}
