//! The `newc` cpio format, which Linux takes as initial RAM disk (kernel: driver-api/early-userspace/buffer-format).

/// An archive being written.
pub struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

impl Default for Cpio {
    fn default() -> Cpio {
        Cpio { bytes: Vec::new(), inode: 1 }
    }
}

impl Cpio {
    const DIRECTORY: u32 = 0o040000;
    const FILE: u32 = 0o100000;
    const SYMLINK: u32 = 0o120000;
    const CHARACTER_DEVICE: u32 = 0o020000;

    /// Adds a directory. Parents must come before what is in them.
    pub fn directory(&mut self, path: &str, mode: u32) {
        self.entry(path, Self::DIRECTORY | mode, &[], (0, 0));
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) {
        self.entry(path, Self::FILE | mode, data, (0, 0));
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.entry(path, Self::SYMLINK | 0o777, target.as_bytes(), (0, 0));
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.entry(path, Self::CHARACTER_DEVICE | mode, &[], (major, minor));
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }

    /// Header: "070701", then 13 numbers of 8 hexadecimal digits; then name and data, each padded to 4 bytes.
    fn entry(&mut self, path: &str, mode: u32, data: &[u8], device: (u32, u32)) {
        let name_size = path.len() as u32 + 1;
        let fields = [
            self.inode,
            mode,
            0, // uid
            0, // gid
            1, // links
            0, // mtime
            data.len() as u32,
            0, // major and minor of the device the file is on
            0,
            device.0,
            device.1,
            name_size,
            0, // checksum: not used in this variant
        ];
        self.inode += 1;
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn layout_is_as_the_kernel_describes_it() {
        let mut cpio = Cpio::default();
        cpio.file("ab", 0o644, b"hello");
        let bytes = cpio.finish();
        let head = std::str::from_utf8(&bytes[..110]).unwrap();
        assert!(head.starts_with("07070100000001000081a4"), "{head}");
        assert_eq!(&bytes[110..114], b"ab\0\0"); // 113 bytes, padded to 116
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_real_cpio_reads_it() {
        let mut cpio = Cpio::default();
        cpio.directory("d", 0o755);
        cpio.file("d/f", 0o600, &[7; 1000]);
        cpio.symlink("l", "d/f");
        let archive = cpio.finish();
        let child = Command::new("busybox")
            .args(["cpio", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: no busybox on this host");
            return;
        };
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "d\nd/f\nl\n");
    }
}
