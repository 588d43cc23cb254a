//! Constants of the fields that are numbers.

/// `ioflag` of `_IO_CONNECT`: open flags with access bits of their own (section 13.3).
pub mod ioflag {
    /// Read access.
    pub const RD: u32 = 0x1;
    /// Write access.
    pub const WR: u32 = 0x2;
    /// Both access bits.
    pub const ACCESS: u32 = 0x3;
    /// Write at the end.
    pub const APPEND: u32 = 0o10;
    /// Data are on the disk when a write returns.
    pub const DSYNC: u32 = 0o20;
    /// Data and attributes are on the disk when a write returns.
    pub const SYNC: u32 = 0o40;
    /// The same for reads.
    pub const RSYNC: u32 = 0o100;
    /// Do not wait.
    pub const NONBLOCK: u32 = 0o200;
    /// Create the file.
    pub const CREAT: u32 = 0o400;
    /// Empty the file.
    pub const TRUNC: u32 = 0o1000;
    /// Fail if the file exists.
    pub const EXCL: u32 = 0o2000;
    /// Do not take it for the controlling terminal.
    pub const NOCTTY: u32 = 0o4000;
    /// Check permissions with the real ids.
    pub const REALIDS: u32 = 0o40000;
    /// Sizes above 2 GiB are understood.
    pub const LARGEFILE: u32 = 0o100000;
}

/// `whence` of `_IO_LSEEK`.
pub mod whence {
    /// From the start.
    pub const SET: i16 = 0;
    /// From the current position.
    pub const CUR: i16 = 1;
    /// From the end.
    pub const END: i16 = 2;
}

/// Conditions of `_IO_NOTIFY`.
pub mod notify {
    /// Data can be read.
    pub const INPUT: u32 = 0x1000_0000;
    /// Data can be written.
    pub const OUTPUT: u32 = 0x2000_0000;
    /// Out-of-band data.
    pub const OBAND: u32 = 0x4000_0000;
    /// The fields behind the event are valid.
    pub const EXTENDED: u32 = 0x8000_0000;
}

/// `name` of `_IO_PATHCONF` (openqnx trunk/lib/c/public/confname.h).
pub mod pathconf {
    /// Most links to a file.
    pub const LINK_MAX: i16 = 1;
    /// Longest name.
    pub const NAME_MAX: i16 = 4;
    /// Longest path.
    pub const PATH_MAX: i16 = 5;
    /// Bytes that a pipe takes at once.
    pub const PIPE_BUF: i16 = 6;
    /// Whether names that are too long are an error.
    pub const NO_TRUNC: i16 = 7;
    /// Whether giving files away is restricted.
    pub const CHOWN_RESTRICTED: i16 = 9;
}
