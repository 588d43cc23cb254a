//! TCP: one engine for each connection, found by hash.
//!
//! ```text
//!   segment --4-tuple hash--> connection.receive --> ready list --+
//!   owner wrote or read ------------------------------------------+--> connection.transmit --> ring
//!   deadline (heap) ----------------------------------------------+
//! ```
//!
//! Nothing here walks over all connections: a packet costs the same with one connection as with thousands.
//! [`StackCounters::tcp_polls`](crate::StackCounters::tcp_polls) counts the connections touched.

mod connect;
mod connection;
mod demux;
mod listener;
mod options;
mod parking;
mod port;
mod stream;
mod table;
mod timers;

pub(crate) use connect::connect;
pub(crate) use connection::STATES;
pub use listener::TcpListener;
pub use options::{ConnectOptions, LocalPort, TcpOptions, TcpStatus};
pub use stream::{ReadHalf, TcpError, TcpStream, WriteHalf};
pub(crate) use table::Tcp;
