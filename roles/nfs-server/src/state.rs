//! What the server itself must remember over restarts, kept on the volume where clients cannot reach it.
//!
//! The records of hosts with locks and the state number of NSM are in [`crate::nsm`].

use keelson_hal::Entropy;
use keelson_volume::{Volume, VolumeError};

/// 16 bytes: the key of the check in file handles.
const HANDLE_KEY: &str = "nfs-handle-key";

/// 4 bytes, big-endian: how often the server was started.
const STARTS: &str = "nfs-starts";

/// The mount list.
pub(crate) const MOUNTS: &str = "nfs-mounts";

/// What is read, or made at the first start.
pub(crate) struct ServerState {
    pub handle_key: [u8; 16],
    /// This start's number, from 1.
    pub starts: u32,
}

impl ServerState {
    /// Reads the state and counts this start. On a volume that cannot be changed, the number stays and a
    /// missing key is made for this run only.
    pub async fn load<V: Volume>(volume: &V, entropy: &dyn Entropy) -> Result<ServerState, VolumeError> {
        let stored = volume.read_state(HANDLE_KEY).await?.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let handle_key = match stored {
            Some(key) => key,
            None => {
                let mut key = [0; 16];
                entropy.fill(&mut key);
                store(volume, HANDLE_KEY, &key).await?;
                key
            }
        };
        let stored = volume.read_state(STARTS).await?.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        let starts = stored.map_or(0, u32::from_be_bytes).wrapping_add(1);
        store(volume, STARTS, &starts.to_be_bytes()).await?;
        Ok(ServerState { handle_key, starts })
    }
}

async fn store<V: Volume>(volume: &V, name: &str, content: &[u8]) -> Result<(), VolumeError> {
    match volume.write_state(name, content).await {
        Err(VolumeError::ReadOnly) => Ok(()),
        result => result,
    }
}
