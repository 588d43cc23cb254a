//! How Qnet nodes behave when links, nodes and users do not: the real image, alone and in pairs, with nodes of the test.
//! The numbers are those of the specification's tests (section 26); what is about the protocol alone is simulated.

mod bad_frames;
mod dead_nodes;
mod links;
mod names;
mod soak;
mod users;

use keelson_qnet_wire::Errno;
use keelson_tests::qnet::{OpenFlags, Peer, User};
use std::time::{Duration, Instant};

/// Announcements each second.
const OFTEN: &str = "auto_add=5";

/// A file of this many bytes, each different from its neighbours.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Writes a whole file.
async fn write(user: &User, path: &str, bytes: &[u8]) -> Result<(), Errno> {
    let file = user.files().create(path, 0o644).await?;
    file.write_all(bytes).await?;
    file.close().await
}

/// Reads a whole file.
async fn read(user: &User, path: &str) -> Result<Vec<u8>, Errno> {
    let file = user.files().open(path, OpenFlags::READ).await?;
    let (mut bytes, mut room) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut room).await? {
            0 => return Ok(bytes),
            len => bytes.extend_from_slice(&room[..len]),
        }
    }
}

/// Names in `/net` as a node of the test sees them.
fn listed(peer: &Peer) -> Vec<String> {
    peer.run(async |user| {
        let items = user.files().read_dir("/net").await.unwrap();
        items.into_iter().map(|item| item.name).collect()
    })
}

/// Waits until something is so.
#[track_caller]
fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    start.elapsed()
}
