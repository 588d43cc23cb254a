//! Size and boot time of each role's image.

use super::{ROLES, ReleaseError, in_file};
use keelson_qemu::{Bench, Drive, Ext4Spec, MachineSpec, Nic, NicModel};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How often each is booted; the median counts.
const BOOTS: usize = 3;
const LONG: Duration = Duration::from_secs(60);

/// Boots the images of a folder; the table as Markdown.
pub fn measure(folder: &Path, version: &str) -> Result<String, ReleaseError> {
    let mut text = format!(
        "# Keelson {version}\n\nFrom the start of QEMU (emulation, `-kernel`) to the service, median of {BOOTS}.\n\n\
         | Role | Image | Boot to service |\n|---|---|---|\n"
    );
    for role in ROLES {
        let image = folder.join(format!("{role}.img"));
        let size = in_file(&image, fs::metadata(&image))?.len();
        let mut times = Vec::new();
        for _ in 0..BOOTS {
            times.push(boot(role, &image)?);
        }
        times.sort();
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "| {role} | {} KiB | {} ms |", size.div_ceil(1024), times[BOOTS / 2].as_millis());
    }
    Ok(text)
}

/// Time until the role serves.
fn boot(role: &str, image: &Path) -> Result<Duration, ReleaseError> {
    let bench = Bench::new("release");
    let spec = bench.machine(role).kernel(image).nic(Nic::user(NicModel::Virtio)).append("ip=dhcp");
    let (spec, serving) = of_role(role, &bench, spec)?;
    let machine = spec.start()?;
    machine.expect(serving, LONG)?;
    Ok(machine.started().elapsed())
}

/// What the role needs, and what it says when it serves.
fn of_role(
    role: &str,
    bench: &Bench,
    spec: MachineSpec,
) -> Result<(MachineSpec, &'static str), ReleaseError> {
    Ok(match role {
        "nfs-server" => {
            let disk = bench.ext4("data", &Ext4Spec::new(16 << 20))?;
            (spec.drive(Drive::file(disk.path())).append("nfs.exports=\"/ *(ro)\""), "serving NFS on port")
        }
        "lnet-router" => (spec, "LNet: Accept secure"),
        "qnet-node" => (spec, "qnet: mounted as /net"),
        _ => (spec.cpus(2).append("insecure=1"), "lwk: hosts may connect"),
    })
}
