//! Message passing for programs that are linked into the image: what `ChannelCreate`, `MsgReceive`, `MsgReply`,
//! `ConnectAttach`, `MsgSend`, `MsgSendPulse`, `MsgDeliverEvent`, `SignalKill` and `name_attach` are in QNX.
//!
//! ```text
//!   Kernel       one for each node: processes, channels, connections, names
//!   Channel      a server receives from it: messages, pulses, news of clients
//!   Message      what a client has sent, to be read, written to, and replied to
//!   Connection   a client sends by it
//! ```
//!
//! Clients and servers do not see whether the other is on this node (node descriptor 0) or another one, except by how
//! long it takes and by how it fails: when a node dies, its clients' connections are gone, and its servers' clients get
//! `ESRCH`.
//!
//! See `examples/adder.rs` for a server and a client on two nodes.

mod channel;
mod connection;
mod kernel;
mod message;
mod names;

pub use crate::kif::{
    Counters, CredentialRules, DEFAULT_PRIORITY, Gauge, KernelConfig, Limits, MAX_PRIORITY, NOBODY,
    PROCESS_MANAGER, PeerProfile, Pulse, Reading, SignalDelivery, SignalRequest, User,
};
pub use channel::{Channel, Received};
pub use connection::Connection;
pub use kernel::{Credentials, Kernel, SignalHandler};
pub use message::{EventTarget, Message, MessageInfo, ReceiveId};
pub use names::{NameAttach, NameScope};
