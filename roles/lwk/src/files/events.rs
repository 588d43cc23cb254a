//! What can be waited for on a descriptor: the bits of poll(2), which are also those of epoll(7).

use core::ops::{BitAnd, BitOr, BitOrAssign};

/// A set of events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Events(pub u32);

impl Events {
    /// Nothing.
    pub const NONE: Events = Events(0);
    /// POLLIN: there is something to read, or the end.
    pub const IN: Events = Events(0x1);
    /// POLLPRI: something urgent.
    pub const PRI: Events = Events(0x2);
    /// POLLOUT: writing would not wait.
    pub const OUT: Events = Events(0x4);
    /// POLLERR.
    pub const ERR: Events = Events(0x8);
    /// POLLHUP: the other end is gone.
    pub const HUP: Events = Events(0x10);
    /// POLLNVAL: not an open descriptor.
    pub const NVAL: Events = Events(0x20);
    /// POLLRDNORM, the same as POLLIN for most files.
    pub const READ_NORMAL: Events = Events(0x40);
    /// POLLWRNORM, the same as POLLOUT.
    pub const WRITE_NORMAL: Events = Events(0x100);
    /// POLLRDHUP: the other end of a stream sends no more.
    pub const READ_HUP: Events = Events(0x2000);
    /// Not of poll(2), and told to watchers only: writers may be told by signals that there is room.
    pub const ROOM: Events = Events(1 << 16);
    /// The same: what holds, and not something that happened.
    pub const STATE: Events = Events(1 << 17);
    /// Readable, by both its names.
    pub const READABLE: Events = Events(0x41);
    /// Writable, by both its names.
    pub const WRITABLE: Events = Events(0x104);
    /// What is reported whether asked for or not.
    pub const ALWAYS: Events = Events(0x18);
    /// Readable and writable: files that never make anybody wait.
    pub const READY: Events = Events(0x145);
    /// Everything a program can ask for.
    pub const ALL: Events = Events(0x27df);

    /// True for the empty set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True when the sets have something in common.
    pub const fn intersects(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }

    /// Without those in `other`.
    pub const fn without(self, other: Events) -> Events {
        Events(self.0 & !other.0)
    }

    /// `self` when `condition` holds, else nothing.
    pub const fn when(self, condition: bool) -> Events {
        if condition { self } else { Events::NONE }
    }
}

impl BitOr for Events {
    type Output = Events;
    fn bitor(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }
}

impl BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Events) {
        self.0 |= other.0;
    }
}

impl BitAnd for Events {
    type Output = Events;
    fn bitand(self, other: Events) -> Events {
        Events(self.0 & other.0)
    }
}
