//! The machine under a Qnet node, and the node's programs at the machine's terminals.

mod interpreter;
mod system;

pub use interpreter::Programs;
pub use system::QnetMachine;
