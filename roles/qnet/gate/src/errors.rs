//! Errors that a client may be told, and how long it may take (section 18).

use keelson_qnet_wire::Errno;
use std::time::Duration;

/// Longest time until any operation has ended: a lookup, a handshake, a heartbeat and eight retransmissions, for each of
/// the three steps of opening a file, and the five seconds that a server has after an UNBLOCK.
pub const LONGEST: Duration = Duration::from_secs(40);

/// Whether an error says that the network or the other node failed.
pub fn is_of_network(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ESRCH
            | Errno::EBADF
            | Errno::ENOENT
            | Errno::EHOSTDOWN
            | Errno::ENETDOWN
            | Errno::EHOSTUNREACH
            | Errno::ETIMEDOUT
            | Errno::EAGAIN
    )
}
