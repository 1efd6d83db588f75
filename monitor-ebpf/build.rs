//! Rebuilds the kernel side when the linker changes: cargo does not see it otherwise.

fn main() {
    println!("cargo::rerun-if-env-changed=PATH");
}
