//! `make release`: versioned images with what a site wants to know of them.
//!
//! ```text
//!   keelson-0.1.0-1a2b3c4d/
//!     nfs-server.img nfs-server.elf ...   as `make images` builds them
//!     sbom.cdx.json                       every crate that is linked in, with licence and checksum (CycloneDX 1.5)
//!     SHA256SUMS                          of all those: the same commit and compiler give the same
//!     MATRIX.md                           size and boot time of each role; times are those of the machine that measured
//! ```

mod matrix;
mod sbom;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::{fs, io};

/// The roles that there is an image of.
const ROLES: [&str; 4] = ["nfs-server", "lnet-router", "qnet-node", "lwk-compute"];

/// What is released.
#[derive(Clone, Debug)]
pub struct Release {
    /// The repository: images in `images/out`, `Cargo.lock`.
    pub root: PathBuf,
    /// Where the folder of the release goes.
    pub out: PathBuf,
    /// Version and commit: `0.1.0-1a2b3c4d`.
    pub version: String,
    /// When the commit was made, in seconds since 1970.
    pub time: u64,
}

/// Why there is no release.
#[derive(Debug)]
pub enum ReleaseError {
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
    /// A program failed.
    Program(&'static str, ExitStatus, String),
    /// A machine did not come up.
    Machine(keelson_qemu::Error),
}

impl std::fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReleaseError::File(path, error) => write!(f, "{}: {error}", path.display()),
            ReleaseError::Program(name, status, errors) => write!(f, "{name}: {status}: {errors}"),
            ReleaseError::Machine(error) => write!(f, "{error}"),
        }
    }
}

impl From<keelson_qemu::Error> for ReleaseError {
    fn from(error: keelson_qemu::Error) -> ReleaseError {
        ReleaseError::Machine(error)
    }
}

impl Release {
    /// Makes the folder anew; returns where it is.
    ///
    /// # Errors
    ///
    /// An image is missing, or does not boot.
    pub fn make(&self) -> Result<PathBuf, ReleaseError> {
        let folder = self.out.join(format!("keelson-{}", self.version));
        if folder.exists() {
            in_file(&folder, fs::remove_dir_all(&folder))?;
        }
        in_file(&folder, fs::create_dir_all(&folder))?;
        for role in ROLES {
            for kind in ["img", "elf"] {
                let name = format!("{role}.{kind}");
                let built = self.root.join("images/out").join(&name);
                in_file(&built, fs::copy(&built, folder.join(&name)))?;
            }
        }
        let lock = self.root.join("Cargo.lock");
        let crates = sbom::crates(&self.tree()?, &in_file(&lock, fs::read_to_string(&lock))?);
        write(&folder.join("sbom.cdx.json"), &sbom::document(&self.version, self.time, &crates))?;
        write(&folder.join("SHA256SUMS"), &sums(&folder)?)?;
        write(&folder.join("MATRIX.md"), &matrix::measure(&folder, &self.version)?)?;
        Ok(folder)
    }

    /// What is linked into the images: name, version and licence of a crate in each line.
    fn tree(&self) -> Result<String, ReleaseError> {
        let mut cargo = Command::new("cargo");
        cargo.args([
            "tree",
            "--locked",
            "--package",
            "keelson-images",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ]);
        cargo.args(["--target", "x86_64-unknown-linux-gnu", "--format", "{p}\t{l}"]).current_dir(&self.root);
        output("cargo tree", cargo)
    }
}

/// What `sha256sum --check` reads, in the order of the names.
fn sums(folder: &Path) -> Result<String, ReleaseError> {
    let mut names: Vec<_> =
        in_file(folder, fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>))?
            .into_iter()
            .map(|entry| entry.file_name())
            .collect();
    names.sort();
    let mut program = Command::new("sha256sum");
    program.args(names).current_dir(folder);
    output("sha256sum", program)
}

fn output(name: &'static str, mut command: Command) -> Result<String, ReleaseError> {
    let ended = in_file(Path::new(name), command.output())?;
    match ended.status.success() {
        true => Ok(String::from_utf8_lossy(&ended.stdout).into_owned()),
        false => {
            let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
            Err(ReleaseError::Program(name, ended.status, errors))
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), ReleaseError> {
    in_file(path, fs::write(path, text))
}

fn in_file<T>(path: &Path, result: io::Result<T>) -> Result<T, ReleaseError> {
    result.map_err(|error| ReleaseError::File(path.into(), error))
}
