//! What is there.

use std::collections::BTreeMap;

use super::LONGEST;
use crate::nfs3::{Handle, Nfs, kind};
use crate::rpc::RpcError;

/// A tree as the server shows it.
pub struct Found(pub BTreeMap<String, There>);

pub struct There {
    pub kind: u32,
    pub mode: u32,
    pub nlink: u32,
    pub handle: Handle,
    /// Contents of a file, target of a link.
    pub data: Vec<u8>,
}

impl Found {
    pub fn explore(nfs: &mut Nfs, root: &[u8], top: &str) -> Result<Found, String> {
        let said = |error: RpcError| error.to_string();
        let start = nfs.lookup(root, top.as_bytes()).map_err(said)?;
        let start = start.value.ok_or_else(|| format!("{top} is lost (status {})", start.status))?;
        let mut found = BTreeMap::new();
        let mut left = vec![(String::new(), start.handle)];
        while let Some((path, handle)) = left.pop() {
            let answer = nfs.getattr(&handle).map_err(said)?;
            let attributes = answer.value.ok_or_else(|| format!("{top}/{path}: status {}", answer.status))?;
            let mut data = Vec::new();
            match attributes.kind {
                kind::DIRECTORY => {
                    for entry in nfs.list(&handle, 8192, true).map_err(said)? {
                        let name = String::from_utf8_lossy(&entry.name).into_owned();
                        let inner = if path.is_empty() { name } else { format!("{path}/{name}") };
                        let handle = entry.handle.ok_or_else(|| format!("{top}/{inner} has no handle"))?;
                        left.push((inner, handle));
                    }
                }
                kind::SYMLINK => {
                    let answer = nfs.readlink(&handle).map_err(said)?;
                    data = answer.value.ok_or_else(|| format!("{top}/{path}: status {}", answer.status))?;
                }
                _ => {
                    let answer = nfs.read(&handle, 0, LONGEST as u32 + 1).map_err(said)?;
                    let piece =
                        answer.value.ok_or_else(|| format!("{top}/{path}: status {}", answer.status))?;
                    if piece.data.len() as u64 != attributes.size || !piece.eof {
                        return Err(format!("{top}/{path}: READ ends before the file does"));
                    }
                    data = piece.data;
                }
            }
            let (kind, mode, nlink) = (attributes.kind, attributes.mode, attributes.nlink);
            found.insert(path, There { kind, mode, nlink, handle, data });
        }
        Ok(Found(found))
    }
}
