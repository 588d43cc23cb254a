//! The proxy against a simulated node: what the node asks for must come out as when this process does it itself.

mod dump;
mod files;
mod mcexec;
mod protocol;
mod second;
mod serial;
mod sim;
mod sockets;
mod terminal;
mod tools;
mod waiting;
mod world;
