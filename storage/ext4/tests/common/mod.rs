//! What several tests check.

use keelson_ext4::Ext4Volume;
use keelson_ext4::dev::run;
use keelson_volume::{FileId, Volume};

/// Lists a directory with attributes and compares them with what lookups say. A lookup asks the engine, the
/// listing reads inode records: they must agree whatever was changed, committed, checkpointed or cut off.
pub fn check_listing(volume: &Ext4Volume, dir: FileId) -> usize {
    let (mut count, mut cookie) = (0, 0);
    loop {
        let page = run(volume.read_dir_plus(dir, cookie, 2000)).expect("read_dir_plus");
        for entry in page.entries {
            cookie = entry.cookie;
            if entry.is_dot() {
                continue;
            }
            let found = run(volume.lookup(dir, &entry.name)).expect("lookup of a listed name");
            assert_eq!(entry.attributes, Some(found), "attributes of {:?}", entry.name.escape_ascii());
            count += 1;
        }
        if page.end {
            return count;
        }
    }
}
