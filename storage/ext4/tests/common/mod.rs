//! What several tests need: a filesystem on a host of its own, and a check of listings.

// Each test uses some of it.
#![allow(dead_code)]

use keelson_ext4::dev::Host;
use keelson_ext4::{Ext4Volume, MountError, Options};
use keelson_hal::BlockDevice;
use keelson_volume::{FileId, NewObject, ObjectKind, SetTime, Volume};
use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;

thread_local! {
    /// Hosts of this test, the one that was made last is the one that runs things.
    static HOSTS: RefCell<Vec<Rc<Host>>> = const { RefCell::new(Vec::new()) };
}

/// A mounted filesystem. Dropping it takes the power away.
pub struct Mounted {
    volume: Ext4Volume,
    host: Rc<Host>,
}

impl Deref for Mounted {
    type Target = Ext4Volume;

    fn deref(&self) -> &Ext4Volume {
        &self.volume
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.host.power_off();
        HOSTS.with(|hosts| hosts.borrow_mut().retain(|host| !Rc::ptr_eq(host, &self.host)));
    }
}

impl Mounted {
    /// The machine below.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

/// Mounts on a new host.
pub fn mount(device: Rc<dyn BlockDevice>, seed: u64, options: Options) -> Result<Mounted, MountError> {
    mount_on(Rc::new(Host::new(seed)), device, options)
}

/// Mounts on this host.
pub fn mount_on(
    host: Rc<Host>,
    device: Rc<dyn BlockDevice>,
    options: Options,
) -> Result<Mounted, MountError> {
    let volume = host.mount(device, options);
    if volume.is_err() {
        host.power_off();
    }
    let volume = volume?;
    HOSTS.with(|hosts| hosts.borrow_mut().push(host.clone()));
    Ok(Mounted { volume, host })
}

/// Runs a future on the host that was made last.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let host = HOSTS.with(|hosts| hosts.borrow().last().cloned());
    host.expect("something is mounted").run(future)
}

/// An object to create.
pub fn new(kind: ObjectKind<'_>) -> NewObject<'_> {
    NewObject { kind, mode: 0o640, uid: 3, gid: 4, atime: SetTime::Now, mtime: SetTime::Now }
}

/// Lists a directory with attributes and compares them with what lookups say.
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
