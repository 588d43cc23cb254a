//! ext4 images: made by mke2fs, judged by e2fsck, read by debugfs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::Bench;
use crate::error::{Error, Result};
use crate::tool;

/// How to make an ext4 image.
#[derive(Clone, Debug)]
pub struct Ext4Spec {
    size: u64,
    options: Vec<String>,
    from: Option<PathBuf>,
}

impl Ext4Spec {
    /// `size` bytes, with Debian's defaults. The file is sparse.
    pub fn new(size: u64) -> Ext4Spec {
        Ext4Spec { size, options: vec![], from: None }
    }

    /// Further arguments of mke2fs, for example `["-O", "^metadata_csum"]` or `["-b", "1024"]`.
    pub fn options<'a>(mut self, options: impl IntoIterator<Item = &'a str>) -> Ext4Spec {
        self.options.extend(options.into_iter().map(String::from));
        self
    }

    /// Copies this folder of the host into the image.
    pub fn populated_from(mut self, folder: &Path) -> Ext4Spec {
        self.from = Some(folder.into());
        self
    }
}

/// A raw image file with an ext4 file system.
#[derive(Clone, Debug)]
pub struct Ext4Image {
    path: PathBuf,
}

impl Bench {
    /// Makes an ext4 image in the bench's folder.
    pub fn ext4(&self, name: &str, spec: &Ext4Spec) -> Result<Ext4Image> {
        let path = self.dir().join(format!("{name}.ext4"));
        let file = File::create(&path).map_err(Error::io(format!("create {}", path.display())))?;
        file.set_len(spec.size).map_err(Error::io(format!("size {}", path.display())))?;
        let mut mke2fs = Command::new(sbin("mke2fs"));
        mke2fs.args(["-q", "-F", "-t", "ext4"]).args(&spec.options);
        if let Some(folder) = &spec.from {
            mke2fs.arg("-d").arg(folder);
        }
        tool::output(mke2fs.arg(&path))?;
        Ok(Ext4Image { path })
    }
}

impl Ext4Image {
    /// Takes an existing image file.
    pub fn open(path: &Path) -> Ext4Image {
        Ext4Image { path: path.into() }
    }

    /// The image file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks the file system without changing it (`e2fsck -fn`); an error carries all that is wrong.
    ///
    /// A journal that was not replayed counts as wrong; see [`Ext4Image::replay`].
    pub fn check(&self) -> Result<()> {
        let mut e2fsck = Command::new(sbin("e2fsck"));
        e2fsck.arg("-fn").arg(&self.path);
        let (clean, text, errors) = tool::run(&mut e2fsck)?;
        if clean && !text.contains("skipping journal recovery") {
            return Ok(());
        }
        Err(Error::Tool { command: format!("e2fsck -fn {}", self.path.display()), output: text + &errors })
    }

    /// Replays the journal as a mount would, and nothing else.
    pub fn replay(&self) -> Result<()> {
        let mut e2fsck = Command::new(sbin("e2fsck"));
        e2fsck.args(["-p", "-E", "journal_only"]).arg(&self.path);
        // Status 1 says that something was corrected: the journal.
        tool::run(&mut e2fsck).map(drop)
    }

    /// Runs debugfs requests, for example `"stat /file"` or `"ls -l /"`.
    pub fn debugfs(&self, request: &str) -> Result<String> {
        tool::output(Command::new(sbin("debugfs")).args(["-R", request]).arg(&self.path))
    }

    /// Contents of a file in the image; an error if there is none.
    pub fn read(&self, file: &str) -> Result<Vec<u8>> {
        let out = self.path.with_extension("dump");
        let _ = fs::remove_file(&out);
        // debugfs succeeds even if the file does not exist.
        self.debugfs(&format!("dump \"{file}\" {}", out.display()))?;
        let data = fs::read(&out).map_err(Error::io(format!("read {file} in {}", self.path.display())));
        let _ = fs::remove_file(&out);
        data
    }

    /// A copy in its present state; shares blocks where the host's file system can.
    pub fn copy_to(&self, path: &Path) -> Result<Ext4Image> {
        let mut cp = Command::new("cp");
        tool::output(cp.args(["--reflink=auto", "--sparse=always"]).arg(&self.path).arg(path))?;
        Ok(Ext4Image::open(path))
    }
}

/// e2fsprogs are in `/usr/sbin`, which is not in everybody's PATH.
fn sbin(name: &str) -> String {
    let path = format!("/usr/sbin/{name}");
    if Path::new(&path).exists() { path } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_made_read_and_checked() {
        let bench = Bench::new("ext4");
        let tree = bench.dir().join("tree");
        fs::create_dir_all(tree.join("d")).unwrap();
        fs::write(tree.join("d/hello"), "world").unwrap();
        let spec = Ext4Spec::new(8 << 20).populated_from(&tree);
        let image = bench.ext4("a", &spec).unwrap();
        image.check().unwrap();
        assert_eq!(image.read("/d/hello").unwrap(), b"world");
        assert!(image.read("/d/none").is_err());

        let copy = image.copy_to(&bench.dir().join("b.ext4")).unwrap();
        let mut bytes = fs::read(copy.path()).unwrap();
        bytes[1024 + 12] ^= 0x55; // the superblock's count of free blocks
        fs::write(copy.path(), bytes).unwrap();
        let error = copy.check().unwrap_err().to_string();
        assert!(error.contains("e2fsck -fn"), "{error}");
        image.check().unwrap();
    }
}
