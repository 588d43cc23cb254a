//! Names to addresses without a LAN resolver (`bind=ip`, section 2.2): DNS or a file, passed in.

use core::net::Ipv4Addr;
use keelson_qnet_wire::Errno;

/// One question to a resolver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ResolveId(pub u64);

/// What a resolver says at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// The address.
    Found(Ipv4Addr),
    /// There is none: ENOENT when the name does not exist.
    Failed(Errno),
    /// It will be told by [`crate::l4::Transport::resolved`].
    Pending,
}

/// From names to addresses.
pub trait Resolver {
    /// Asks for the address of `host` in `domain`, which may be empty. May be asked for the same name again.
    fn resolve(&self, id: ResolveId, host: &str, domain: &str) -> Resolution;
}
