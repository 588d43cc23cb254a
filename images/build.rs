//! Link arguments of the images: no C runtime, no position independence, our own memory layout.

fn main() {
    println!("cargo:rerun-if-changed=link.ld");
    println!("cargo:rerun-if-changed=build.rs");
    // Host builds (clippy, tests) link like any program; only `make images` sets the cfg.
    if std::env::var_os("CARGO_CFG_KEELSON_IMAGE").is_none() {
        return;
    }
    let script = format!("-Wl,-T,{}/link.ld", std::env::var("CARGO_MANIFEST_DIR").expect("set by cargo"));
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,max-page-size=4096",
        "-Wl,-z,norelro",
        "-Wl,--gc-sections",
        &script,
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
