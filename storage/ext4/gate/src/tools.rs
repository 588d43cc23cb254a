//! e2fsprogs, loop mounts, and image files for them.

use crate::disk::Pages;
use keelson_ext4::dev::{unmount, workplace as memory};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// UUID and hash seed of every filesystem that we make.
const IDENTITY: &str = "1b671a64-40d5-491e-99b0-da01ff1f3341";
/// When they were made: 2026-01-01, when the clocks of [`crate::world::World`] begin.
const BIRTH: &str = "1767225600";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Where a process keeps its files: in memory if the machine has a place for that.
pub fn workplace(process: u32) -> PathBuf {
    memory().join(format!("keelson-gate-{process}"))
}

/// A name in this process's workplace that nothing has yet.
fn fresh_path(suffix: &str) -> PathBuf {
    let place = workplace(process::id());
    fs::create_dir_all(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    place.join(format!("{}{suffix}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// An image in a file that goes away with this value.
pub struct Image(PathBuf);

impl Image {
    /// A new filesystem of `mebibytes`, made with further arguments for mke2fs.
    pub fn make(mebibytes: u64, arguments: &[&str]) -> Image {
        Image::try_make(mebibytes, arguments).unwrap_or_else(|said| panic!("mke2fs {arguments:?}: {said}"))
    }

    /// The same, for arguments that this mke2fs may not know.
    pub fn try_make(mebibytes: u64, arguments: &[&str]) -> Result<Image, String> {
        let image = Image(fresh_path(".img"));
        let size = format!("{mebibytes}M");
        // Made twice, it is the same.
        let (mut arguments, mut extended) = (arguments.to_vec(), format!("hash_seed={IDENTITY}"));
        if let Some(place) = arguments.iter().position(|word| *word == "-E") {
            extended = format!("{extended},{}", arguments[place + 1]);
            arguments.drain(place..place + 2);
        }
        let mut command = tool("mke2fs");
        command
            .env("E2FSPROGS_FAKE_TIME", BIRTH)
            .args(["-q", "-F", "-t", "ext4", "-U", IDENTITY, "-E", &extended]);
        command.args(arguments).arg(&image.0).arg(size);
        let output = output(&mut command);
        if output.status.success() { Ok(image) } else { Err(said(&output)) }
    }

    /// A copy of a file.
    pub fn copy(of: &Path) -> Image {
        Pages::load(of).save()
    }

    /// A file of this length without content.
    pub fn sparse(bytes: u64) -> Image {
        let image = Image(fresh_path(".img"));
        let file = File::create(&image.0).and_then(|file| file.set_len(bytes));
        file.unwrap_or_else(|error| panic!("{}: {error}", image.0.display()));
        image
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // What cannot be removed goes with the workplace.
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_dir(workplace(process::id()));
    }
}

fn tool(name: &str) -> Command {
    let place = ["/sbin", "/usr/sbin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    Command::new(place.unwrap_or_else(|| name.into()))
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} (package e2fsprogs): {error}"))
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| !line.starts_with("Pass ") && !line.starts_with("e2fsck 1"));
    lines.take(12).collect::<Vec<_>>().join(" | ")
}

/// Checks an image without changing it; the error is what e2fsck said.
pub fn e2fsck(path: &Path) -> Result<(), String> {
    let output = output(tool("e2fsck").arg("-fn").arg(path));
    if output.status.success() { Ok(()) } else { Err(format!("e2fsck -fn: {}", said(&output))) }
}

/// Lets e2fsck do what it does at every boot: replay the journal and repair what is harmless.
pub fn e2fsck_preen(path: &Path) -> Result<(), String> {
    let output = output(tool("e2fsck").arg("-p").arg(path));
    match output.status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(format!("e2fsck -p: {}", said(&output))),
    }
}

/// Changes an image with requests to debugfs, one a line; what it said.
pub fn debugfs(path: &Path, requests: &[&str]) -> String {
    let script = fresh_path(".debugfs");
    fs::write(&script, requests.join("\n")).expect("write a script");
    let output = output(tool("debugfs").arg("-w").arg("-f").arg(&script).arg(path));
    let _ = fs::remove_file(&script);
    assert!(output.status.success(), "debugfs {requests:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Changes features and parameters of an image.
pub fn tune2fs(path: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = output(tool("tune2fs").args(arguments).arg(path));
    if output.status.success() { Ok(()) } else { Err(said(&output)) }
}

/// True where Linux can mount images for us.
pub fn may_mount() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists()
}

/// An image mounted by Linux as long as this value lives.
pub struct Mounted {
    place: PathBuf,
    up: bool,
}

impl Mounted {
    /// Mounts it with these options.
    pub fn new(image: &Path, options: &str) -> Result<Mounted, String> {
        let place = fresh_path(".mnt");
        fs::create_dir_all(&place).map_err(|error| error.to_string())?;
        let options = format!("loop,{options}");
        let mut command = Command::new("mount");
        command.args(["-t", "ext4", "-o", &options]).arg(image).arg(&place);
        let output = output(&mut command);
        let mounted = Mounted { place, up: output.status.success() };
        if mounted.up { Ok(mounted) } else { Err(format!("mount -o {options}: {}", said(&output))) }
    }

    /// Where its root is.
    pub fn path(&self) -> &Path {
        &self.place
    }

    /// Unmounts it and says whether that went well.
    pub fn unmount(mut self) -> Result<(), String> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.up) {
            return Ok(());
        }
        unmount(&self.place)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.take_down();
        let _ = fs::remove_dir(&self.place);
    }
}

/// A path for a new file in the workplace, for the file's user to remove.
pub fn fresh_image_path() -> PathBuf {
    fresh_path(".img")
}

impl Image {
    /// Takes over a file that was made at [`fresh_image_path`].
    pub fn adopt(path: PathBuf) -> Image {
        Image(path)
    }
}

/// Length of a file.
pub fn length(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.len())
}
