//! The SDKs and templates go into the binary: a file that is added there is a reason to build again.

fn main() {
    println!("cargo::rerun-if-changed=../../sdk");
    println!("cargo::rerun-if-changed=templates");
}
