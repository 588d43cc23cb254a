//! Reading a directory that several managers share: the entries of each, without names that one before it has.

use super::manager::{Lookup, Purpose};
use super::namespace::{Namespace, Place};
use super::opens::Open;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use keelson_qnet_wire::io::{DirWriter, Dirent};
use keelson_qnet_wire::{Endian, Errno};
use keelson_volume::DirEntry;

/// Most bytes that one read returns.
const READ_MAX: usize = 65_536;

/// How far a directory has been read.
pub(crate) struct Cursor {
    /// The directory of each manager.
    places: Rc<[Place]>,
    at: At,
}

#[derive(Clone, Copy, Default)]
struct At {
    place: usize,
    cookie: u64,
    /// Entries before.
    position: u64,
}

/// Whole entries from the open directory's offset on, at most `room` bytes; none at the end.
pub(crate) async fn read(namespace: &Rc<Namespace>, open: &Open, room: usize) -> Result<Vec<u8>, Errno> {
    let _permit = open.at_offset.acquire().await;
    let wanted = open.offset.get();
    let cursor = open.cursor.borrow_mut().take();
    let (places, at) = match cursor {
        // Going back is starting anew.
        Some(cursor) if cursor.at.position <= wanted => (cursor.places, cursor.at),
        Some(cursor) => (cursor.places, At::default()),
        None => (places_of(namespace, open).await, At::default()),
    };
    let mut buffer = vec![0; room.min(READ_MAX)];
    let mut writer = DirWriter::new(&mut buffer, Endian::Little);
    let (at, full) = fill(&places, at, wanted, &mut writer).await?;
    let len = writer.len();
    buffer.truncate(len);
    open.offset.set(at.position.max(wanted));
    *open.cursor.borrow_mut() = Some(Cursor { places, at });
    // Not even one entry fits: the end would be a lie.
    if len == 0 && full { Err(Errno::EINVAL) } else { Ok(buffer) }
}

async fn places_of(namespace: &Rc<Namespace>, open: &Open) -> Rc<[Place]> {
    let place = &open.place;
    let mut places = namespace.directories(&open.opener, &place.path).await;
    if !places.iter().any(|other| other.mount.id == place.mount.id) {
        places.insert(0, place.clone());
    }
    places.into()
}

/// Also tells whether there was more than fits.
async fn fill(
    places: &[Place],
    mut at: At,
    wanted: u64,
    writer: &mut DirWriter<'_>,
) -> Result<(At, bool), Errno> {
    while let Some(place) = places.get(at.place) {
        let page = place.mount.manager.read_dir(place.attributes.id, at.cookie, READ_MAX).await?;
        for entry in &page.entries {
            if !is_hidden(places, at.place, entry).await {
                if at.position >= wanted {
                    let dirent = Dirent { ino: entry.inode, offset: at.position, name: &entry.name };
                    if writer.push(&dirent).is_err() {
                        return Ok((at, true));
                    }
                }
                at.position += 1;
            }
            at.cookie = entry.cookie;
        }
        if page.end || page.entries.is_empty() {
            at = At { place: at.place + 1, cookie: 0, ..at };
        }
    }
    Ok((at, false))
}

/// Whether a directory before has the name.
async fn is_hidden(places: &[Place], index: usize, entry: &DirEntry) -> bool {
    for before in places.iter().take(index) {
        if entry.is_dot() {
            return true;
        }
        let dir = before.attributes.id;
        let list = Purpose::List;
        let lookup = Lookup { dir, name: &entry.name, rest: &[], purpose: list, goal: list };
        if before.mount.manager.lookup(lookup).await.is_ok() {
            return true;
        }
    }
    false
}
