//! The first 0x1000 bytes of the boot file: the fields that only the finished image knows.

/// Length of the setup block, and therefore the payload's offset in the file.
pub const SETUP_LEN: usize = 0x1000;

const SETUP_SECTS: usize = 0x1f1;
const SYSSIZE: usize = 0x1f4;
const BOOT_FLAG: usize = 0x1fe;
const HEADER: usize = 0x202;
const INIT_SIZE: usize = 0x260;
/// Memory beyond the payload that the loader must leave free: none, the payload holds the bss.
const BEYOND: usize = 0;

/// Setup block and payload as one boot file.
pub fn boot_file(setup: &[u8], payload: &[u8]) -> Result<Vec<u8>, String> {
    if setup.len() != SETUP_LEN {
        return Err(format!("the setup block has {:#x} bytes instead of {SETUP_LEN:#x}", setup.len()));
    }
    if &setup[HEADER..HEADER + 4] != b"HdrS" || setup[BOOT_FLAG..BOOT_FLAG + 2] != [0x55, 0xaa] {
        return Err("the setup block has no Linux header at 0x1f1".to_string());
    }
    if (usize::from(setup[SETUP_SECTS]) + 1) * 512 != SETUP_LEN {
        return Err("setup_sects does not match the length of the setup block".to_string());
    }
    let mut payload = payload.to_vec();
    payload.resize(payload.len().next_multiple_of(4096), 0);
    let mut file = setup.to_vec();
    put(&mut file, SYSSIZE, payload.len() / 16);
    put(&mut file, INIT_SIZE, payload.len() + BEYOND);
    file.extend_from_slice(&payload);
    Ok(file)
}

fn put(file: &mut [u8], offset: usize, value: usize) {
    file[offset..offset + 4].copy_from_slice(&(value as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Vec<u8> {
        let mut s = vec![0; SETUP_LEN];
        s[SETUP_SECTS] = 7;
        s[BOOT_FLAG..BOOT_FLAG + 2].copy_from_slice(&[0x55, 0xaa]);
        s[HEADER..HEADER + 4].copy_from_slice(b"HdrS");
        s
    }

    #[test]
    fn sizes_are_patched_and_pages_filled() {
        let file = boot_file(&setup(), &[7; 5000]).unwrap();
        assert_eq!(file.len(), SETUP_LEN + 8192);
        assert_eq!(file[SYSSIZE..SYSSIZE + 4], 512u32.to_le_bytes());
        assert_eq!(file[INIT_SIZE..INIT_SIZE + 4], 8192u32.to_le_bytes());
        assert_eq!((file[SETUP_LEN], file[SETUP_LEN + 5000]), (7, 0));
    }

    #[test]
    fn damaged_setup_blocks_are_refused() {
        assert!(boot_file(&setup()[1..], &[]).is_err());
        let mut bad = setup();
        bad[SETUP_SECTS] = 4;
        assert!(boot_file(&bad, &[]).is_err());
        let mut bad = setup();
        bad[HEADER] = b'h';
        assert!(boot_file(&bad, &[]).is_err());
    }
}
