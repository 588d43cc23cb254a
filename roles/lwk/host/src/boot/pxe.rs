//! PXELINUX's file of one node: which image its machine loads, and what the kernel is told.

use super::parameters::Ipmi;
use super::place::write_file;
use super::problem::Problem;

/// The file's text (SYSLINUX, "Config").
fn text(image: &str, key: Option<&str>, line: &str) -> String {
    let key = key.map_or(String::new(), |key| format!("  INITRD {key}\n"));
    format!(
        "# Written by mcreboot; changes are lost.\nDEFAULT lwk\nLABEL lwk\n  KERNEL {image}\n{key}  APPEND {line}\n"
    )
}

/// Writes the file, if the node has one.
pub fn write(ipmi: &Ipmi, line: &str) -> Result<(), Problem> {
    let (Some(file), Some(image)) = (&ipmi.pxe, &ipmi.image) else { return Ok(()) };
    if !file.parent().is_some_and(std::path::Path::is_dir) {
        return Err(Problem::failed(
            file.display(),
            "its directory is not there; pxe= names PXELINUX's file of the node",
        ));
    }
    write_file(file, text(image, ipmi.key.as_deref(), line).as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file() {
        assert_eq!(
            text("lwk-compute.img", Some("n0.key"), "hidos cpus=1-2"),
            "# Written by mcreboot; changes are lost.\nDEFAULT lwk\nLABEL lwk\n  KERNEL lwk-compute.img\n  INITRD n0.key\n  \
             APPEND hidos cpus=1-2\n"
        );
        assert!(!text("i", None, "hidos").contains("INITRD"));
    }
}
