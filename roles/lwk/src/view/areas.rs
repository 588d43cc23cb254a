//! Areas of memory as /proc/[pid]/maps and its relatives show them.

use crate::Errno;
use crate::files::tmpfs;
use crate::mm::{Area, Mm, Mode, Object, Policy, RELATIVE_NODES, Role, STATIC_NODES};
use crate::pseudo::{AreaView, Each, list};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Shows all of an address space.
pub fn show(mm: &Mm, each: Each<'_, AreaView>) -> Result<(), Errno> {
    let policy = mm.policy();
    mm.areas().try_for_each(|area| each(&area_view(mm, &area, &policy)))
}

/// Bytes in memory of files, and of shared memory.
pub fn of_objects(mm: &Mm) -> (u64, u64) {
    mm.areas().fold((0, 0), |(files, memory), area| match area.object() {
        Some(object) if object.is_file() => (files + mm.area_usage(&area).resident(), memory),
        Some(_) => (files, memory + mm.area_usage(&area).resident()),
        None => (files, memory),
    })
}

fn area_view(mm: &Mm, area: &Area, policy: &Policy) -> AreaView {
    let usage = mm.area_usage(area);
    let (device, inode) = area.object().map_or((0, 0), |object| identity(object));
    let page_size = usage.page_size();
    AreaView {
        start: area.start,
        end: area.end,
        protection: (area.protection.read, area.protection.write, area.protection.execute),
        shared: area.shared,
        offset: if area.object().is_some() { area.offset } else { 0 },
        device,
        inode,
        name: name(area),
        resident: usage.resident(),
        dirty: usage.dirty,
        locked: if area.flags.locked { usage.resident() } else { 0 },
        anonymous: usage.anonymous,
        large: usage.large + usage.huge,
        page_size,
        pages_on: usage.nodes.iter().map(|bytes| bytes.div_ceil(page_size)).collect(),
        policy: policy_text(area.policy.as_ref().unwrap_or(policy)),
    }
}

/// `st_dev` and `st_ino` of what is behind an area.
fn identity(object: &Object) -> (u64, u64) {
    object.file_id().map_or((tmpfs::DEVICE, object.id()), |id| (id.device, id.inode))
}

fn name(area: &Area) -> Vec<u8> {
    match area.role {
        Role::Heap => return b"[heap]".to_vec(),
        Role::Stack => return b"[stack]".to_vec(),
        Role::Vdso => return b"[vdso]".to_vec(),
        Role::Vvar => return b"[vvar]".to_vec(),
        Role::Mapping => {}
    }
    match (&area.path, &area.attachment, area.object()) {
        (Some(path), ..) => path.to_vec(),
        (None, Some(attachment), _) => format!("/SYSV{:08x} (deleted)", attachment.key()).into_bytes(),
        // As Linux names shared memory that nothing else names.
        (None, None, Some(object)) if !object.is_file() => b"/dev/zero (deleted)".to_vec(),
        _ => Vec::new(),
    }
}

/// A policy as numa(7) has it in numa_maps.
fn policy_text(policy: &Policy) -> String {
    let mode = match policy.mode {
        Mode::Default => return String::from("default"),
        Mode::Local => return String::from("local"),
        Mode::Preferred => "prefer",
        Mode::Bind => "bind",
        Mode::Interleave => "interleave",
        Mode::PreferredMany => "prefer (many)",
    };
    let flag = match policy.flags {
        STATIC_NODES => "=static",
        RELATIVE_NODES => "=relative",
        _ => "",
    };
    let nodes: Vec<usize> = (0..64).filter(|node| policy.nodes >> node & 1 != 0).collect();
    format!("{mode}{flag}:{}", list(&nodes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_hal::user::Protection;

    #[test]
    fn areas_have_the_names_of_linux() {
        let mut area = Area::anonymous(0x1000..0x2000, Protection::READ_WRITE);
        assert_eq!(name(&area), b"");
        area.path = Some(b"/lib/libc.so"[..].into());
        assert_eq!(name(&area), b"/lib/libc.so");
        for (role, shown) in
            [(Role::Heap, "[heap]"), (Role::Stack, "[stack]"), (Role::Vdso, "[vdso]"), (Role::Vvar, "[vvar]")]
        {
            area.role = role;
            assert_eq!(name(&area), shown.as_bytes());
        }
    }

    #[test]
    fn policies_are_written_as_numactl_reads_them() {
        let text = |mode, nodes| policy_text(&Policy::new(mode, nodes, 0b1111).unwrap());
        assert_eq!(text(0, 0), "default");
        assert_eq!(text(1, 0b10), "prefer:1");
        assert_eq!(text(1, 0), "local");
        assert_eq!(text(2, 0b1011), "bind:0-1,3");
        assert_eq!(text(3 | 1 << 15, 0b11), "interleave=static:0-1");
        assert_eq!(text(3 | 1 << 14, 0b11), "interleave=relative:0-1");
    }
}
