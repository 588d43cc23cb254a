//! Host tool: packs a linked role into its boot files.
//!
//! ```text
//! cargo run -p keelson-mkimage -- --elf target/image/x86_64-unknown-linux-gnu/image/nfs-server --role nfs-server --out images/out
//! ```
//!
//! Writes `ROLE.img` (shaped like a Linux bzImage: setup block, then the flat image) and `ROLE.elf` (for PVH
//! loaders and debuggers), both with the symbol table that backtraces use, after checking what the kernel
//! relies on ([`checks`]).

mod checks;
mod elf;
mod setup;

use keelson_kernel::symbols::{self, SymbolEntry};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the command line says.
struct Arguments {
    elf: PathBuf,
    role: String,
    out: PathBuf,
}

fn arguments() -> Result<Arguments, String> {
    let (mut elf, mut role, mut out) = (None, None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let place = match word.as_str() {
            "--elf" => &mut elf,
            "--role" => &mut role,
            "--out" => &mut out,
            _ => return Err(format!("unknown option {word:?}; known: --elf, --role, --out")),
        };
        *place = Some(words.next().ok_or_else(|| format!("{word} needs a value"))?);
    }
    let need = |name: &str, value: Option<String>| value.ok_or_else(|| format!("{name} is missing"));
    Ok(Arguments {
        elf: need("--elf", elf)?.into(),
        role: need("--role", role)?,
        out: need("--out", out)?.into(),
    })
}

fn pack(arguments: &Arguments) -> Result<String, String> {
    let file = std::fs::read(&arguments.elf)
        .map_err(|error| format!("cannot read {}: {error}", arguments.elf.display()))?;
    let linked = elf::Linked::parse(&file)?;
    fn entry(f: &elf::Function) -> SymbolEntry<'_> {
        SymbolEntry { address: f.address, size: f.size, name: &f.name }
    }
    let entries: Vec<_> = linked.functions.iter().map(entry).collect();
    let symbols = symbols::encode(&entries);
    let elf_file = elf::with_symbols(&file, &linked, &symbols)?;
    let payload = elf::flatten(&linked, &symbols);
    checks::run(&linked, &payload)?;
    checks::red_zone(&arguments.elf)?;
    let img = setup::boot_file(&linked.setup, &payload, linked.efi_entry as usize)?;
    checks::budget(img.len())?;

    let write = |extension: &str, bytes: &[u8]| {
        let path = arguments.out.join(format!("{}.{extension}", arguments.role));
        std::fs::write(&path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    std::fs::create_dir_all(&arguments.out)
        .map_err(|error| format!("cannot create {}: {error}", arguments.out.display()))?;
    write("img", &img)?;
    write("elf", &elf_file)?;
    Ok(format!(
        "{}.img: {} KiB ({} KiB of it symbols, {} functions)",
        arguments.role,
        img.len().div_ceil(1024),
        symbols.len().div_ceil(1024),
        linked.functions.len()
    ))
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| pack(&arguments)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("mkimage: {message}");
            ExitCode::FAILURE
        }
    }
}
