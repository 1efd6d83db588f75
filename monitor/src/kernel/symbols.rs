//! The kernel's symbols, for functions that the compiler renamed.

use std::fs;

/// Where the kernel lists its symbols: of the kernel that runs, whatever `--path.procfs` says.
const KALLSYMS: &str = "/proc/kallsyms";

/// Suffixes that leave a function what it is: a copy with fewer or fixed parameters, or a name that is unique after
/// link-time optimisation. What is not here (`.cold`, `.part`) holds only a part of the function.
const SUFFIXES: &[&str] = &[".isra.", ".constprop.", ".llvm."];

/// The symbols that stand for a function beside its own name, in the kernel's order.
pub fn variants_of(function: &str) -> Vec<String> {
    // Names may be read by all, addresses need not.
    fs::read_to_string(KALLSYMS).map_or_else(|_| Vec::new(), |text| variants_in(&text, function))
}

/// Whether the kernel has this function, under its own name or another; a kernel that does not tell is taken to have it.
pub fn has(function: &str) -> bool {
    fs::read_to_string(KALLSYMS).map_or(true, |text| has_in(&text, function))
}

/// An empty list is one that systemd hides (ProtectKernelTunables=).
fn has_in(symbols: &str, function: &str) -> bool {
    symbols.is_empty()
        || symbols
            .lines()
            .any(|line| line.split_whitespace().nth(2) == Some(function))
        || !variants_in(symbols, function).is_empty()
}

/// The module that a function is part of; `None` where it is the kernel's own, or not there.
pub fn module_of(function: &str) -> Option<String> {
    module_in(&fs::read_to_string(KALLSYMS).ok()?, function)
}

fn module_in(symbols: &str, function: &str) -> Option<String> {
    let line = symbols
        .lines()
        .find(|line| line.split_whitespace().nth(2) == Some(function))?;
    let module = line.split_whitespace().nth(3)?;
    Some(module.strip_prefix('[')?.strip_suffix(']')?.to_owned())
}

fn variants_in(symbols: &str, function: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in symbols.lines() {
        let mut fields = line.split_whitespace();
        let (Some(_), Some(kind), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let is_code = matches!(kind, "t" | "T" | "w" | "W");
        let is_variant = name.strip_prefix(function).is_some_and(is_whole);
        if is_code && is_variant && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// Whether what follows the name says that this is the whole function: suffixes that do, and no other, each with its
/// number.
fn is_whole(mut rest: &str) -> bool {
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let Some(behind) = SUFFIXES.iter().find_map(|suffix| rest.strip_prefix(suffix)) else {
            return false;
        };
        let digits = behind.chars().take_while(char::is_ascii_digit).count();
        if digits == 0 {
            return false;
        }
        rest = behind.get(digits..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "\
0000000000000000 T inet_csk_listen_stop
0000000000000000 t inet_csk_listen_start.isra.0
0000000000000000 t inet_csk_listen_start.isra.0.cold
0000000000000000 t inet_csk_listen_start.cold
0000000000000000 t inet_csk_listen_start.part.0
0000000000000000 d inet_csk_listen_start.llvm.77
0000000000000000 t inet_csk_listen_start_other.isra.0
0000000000000000 t inet_csk_listen_start.llvm.1234567890123
0000000000000000 t tcp_v6_connect.constprop.0.isra.0\t[ipv6]
0000000000000000 T __inet6_bind\t[ipv6]
";

    #[test]
    fn a_renamed_function_is_found_and_its_parts_are_not() {
        assert_eq!(
            variants_in(SYMBOLS, "inet_csk_listen_start"),
            [
                "inet_csk_listen_start.isra.0",
                "inet_csk_listen_start.llvm.1234567890123"
            ]
        );
        assert_eq!(
            variants_in(SYMBOLS, "tcp_v6_connect"),
            ["tcp_v6_connect.constprop.0.isra.0"]
        );
        assert!(
            variants_in(SYMBOLS, "inet_csk_listen_stop").is_empty(),
            "its own name is tried first"
        );
    }

    #[test]
    fn a_function_of_a_module_is_told_from_one_of_the_kernel() {
        assert_eq!(module_in(SYMBOLS, "__inet6_bind").as_deref(), Some("ipv6"));
        assert_eq!(module_in(SYMBOLS, "inet_csk_listen_stop"), None);
        assert_eq!(module_in(SYMBOLS, "__inet_bind"), None);
    }

    #[test]
    fn the_running_kernels_symbols_have_renamed_functions_and_each_is_found_by_its_name() {
        let symbols = fs::read_to_string(KALLSYMS).unwrap();
        let names = symbols.lines().filter_map(|line| line.split_whitespace().nth(2));
        let renamed: Vec<_> = names.filter(|name| name.ends_with(".isra.0")).take(20).collect();
        for name in renamed {
            let function = name.trim_end_matches(".isra.0");
            assert!(variants_of(function).iter().any(|found| found == name), "{name}");
        }
    }
}
