//! What an ELF file asks for: shared libraries of programs, other modules of kernel modules.

use object::{Object, ObjectSection};

/// `DT_NEEDED` and `DT_NULL` of the ELF specification.
const NEEDED: u64 = 1;
const END: u64 = 0;

/// Names of the shared libraries that a program or library is linked with; none if it is static or no ELF file.
pub fn needed_libraries(file: &[u8]) -> Vec<String> {
    let section = |name| {
        let elf = object::File::parse(file).ok()?;
        elf.section_by_name(name)?.data().ok()
    };
    let (Some(dynamic), Some(strings)) = (section(".dynamic"), section(".dynstr")) else { return vec![] };
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    dynamic
        .chunks_exact(16)
        .map(|entry| (word(&entry[..8]), word(&entry[8..])))
        .take_while(|&(tag, _)| tag != END)
        .filter(|&(tag, _)| tag == NEEDED)
        .filter_map(|(_, offset)| {
            let name = strings.get(offset as usize..)?.split(|&byte| byte == 0).next()?;
            Some(String::from_utf8_lossy(name).into_owned())
        })
        .collect()
}

/// Names of the modules that a kernel module says it depends on (`depends=` in `.modinfo`).
pub fn module_dependencies(file: &[u8]) -> Vec<String> {
    let Ok(elf) = object::File::parse(file) else { return vec![] };
    let Some(Ok(info)) = elf.section_by_name(".modinfo").map(|section| section.data()) else { return vec![] };
    info.split(|&byte| byte == 0)
        .filter_map(|entry| entry.strip_prefix(b"depends="))
        .flat_map(|list| list.split(|&byte| byte == b','))
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}
