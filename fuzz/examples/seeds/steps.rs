//! Steps as the targets of programs read them (`service.rs` has the layout).

use keelson_oncrpc::{Buffer, Encoder};

/// The superuser of a host that may do everything.
pub const ROOT: u8 = 0;
/// User 1000 there.
pub const USER: u8 = 1;
/// The superuser of another host, who is squashed.
pub const OTHER: u8 = 2;
/// A host that no export names.
pub const STRANGER: u8 = 3;
/// Over UDP.
pub const UDP: u8 = 4;
/// Without identity.
pub const ANONYMOUS: u8 = 8;
/// From a port above 1023.
pub const HIGH_PORT: u8 = 0x40;
/// Under the number of the call before.
pub const AGAIN: u8 = 0x80;
/// The procedure that says how hosts behave.
pub const BEHAVE: u8 = 31;

/// The handles that are known from the start.
pub mod known {
    pub const ROOT: u8 = 0;
    pub const DIR: u8 = 1;
    pub const FILE: u8 = 2;
    pub const LINK: u8 = 3;
    pub const PRIVATE: u8 = 5;
    pub const SUB: u8 = 7;
    pub const EXPORTED_DIR: u8 = 9;
    pub const READ_ONLY: u8 = 10;
}

/// A version by its place among the program's.
pub fn version(place: u8) -> u8 {
    place << 4
}

/// Arguments under construction.
pub struct Args(Encoder);

impl Args {
    pub fn u32(mut self, value: u32) -> Args {
        self.0.u32(value);
        self
    }

    pub fn u64(mut self, value: u64) -> Args {
        self.0.u64(value);
        self
    }

    pub fn opaque(mut self, bytes: impl AsRef<[u8]>) -> Args {
        self.0.opaque(bytes.as_ref());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Args {
        self.0.fixed(bytes);
        self
    }

    /// What stands for a known handle.
    pub fn handle(self, number: u8) -> Args {
        self.raw(&[0xfe, 0xed, b'H', number])
    }

    /// What stands for the cookie of a call of the server.
    pub fn cookie(self, number: u8) -> Args {
        self.raw(&[0xfe, 0xed, b'C', number])
    }

    /// `sattr3` with a mode and a size.
    pub fn sattr(self, mode: Option<u32>, size: Option<u64>) -> Args {
        let args = match mode {
            Some(mode) => self.u32(1).u32(mode),
            None => self.u32(0),
        };
        let args = args.u32(0).u32(0);
        let args = match size {
            Some(size) => args.u32(1).u64(size),
            None => args.u32(0),
        };
        args.u32(0).u32(1)
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.written()
    }
}

/// No arguments yet.
pub fn args() -> Args {
    Args(Encoder::new(Buffer::unpooled(8192), 0))
}

/// A step; `pause` is the number of the pause after it.
pub fn step(who: u8, procedure: u8, pause: u8, args: Args) -> Vec<u8> {
    let bytes = args.bytes();
    let size = (bytes.len() as u16).to_be_bytes();
    [&[who, procedure | pause << 5, size[0], size[1]], bytes].concat()
}
