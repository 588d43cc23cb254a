//! Boot files: whether one is ours, and for an LWK node.
//!
//! Every boot file of this project holds an ELF note with its role and when it was built, in `.img` and `.elf` alike. A file without
//! it, or with another role in it, is not booted.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use keelson_kernel::note::{self, ImageIdentity};

use super::kargs::ROLE;
use super::problem::Problem;

/// Where the image is without `LWK_IMAGE`.
pub const DEFAULT_IMAGE: &str = "/usr/lib/lwk/lwk-compute.img";
/// Larger than any boot file.
const LARGEST: u64 = 64 << 20;

/// The image that is booted when none is named: `$LWK_IMAGE`, or `$LWK_PREFIX/lib/lwk/lwk-compute.img`.
pub fn default() -> PathBuf {
    let prefixed =
        || std::env::var_os("LWK_PREFIX").map(|prefix| Path::new(&prefix).join("lib/lwk/lwk-compute.img"));
    std::env::var_os("LWK_IMAGE").map(PathBuf::from).or_else(prefixed).unwrap_or_else(|| DEFAULT_IMAGE.into())
}

/// Makes sure that a file is an image of an LWK node. Returns its absolute path and what it says of itself.
pub fn verify(path: &Path) -> Result<(PathBuf, ImageIdentity), Problem> {
    let here = |reason: String| Problem::failed(path.display(), reason);
    let absolute =
        fs::canonicalize(path).map_err(|error| here(format!("{error} (the image of the node)")))?;
    let mut bytes = Vec::new();
    let file = File::open(&absolute).map_err(|error| here(error.to_string()))?;
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|error| here(error.to_string()))?;
    let found = note::find(&bytes).ok_or_else(|| {
        here("not an image of an LWK node: it has no note of Keelson; take lwk-compute.img".into())
    })?;
    if found.role != ROLE {
        let reason = format!("an image of {}; take {}.img", found.role, ROLE);
        return Err(here(reason));
    }
    Ok((absolute, found))
}
