//! Tools that boot and stop nodes: `ihkconfig`, `mcreboot`, `mcstop+release`, and those verbs of `ihkosctl` that act on a node's
//! record instead of on the node itself (sections 6.2 to 6.5).
//!
//! ```text
//!   place        where table and records are            problem     exit codes, how it is said what is wrong
//!   record       what is kept of a node                  words       command lines of the tools
//!   memory       lists such as 512M@0                    image       boot files
//!   parameters   further words of the table's line       kargs       the kernel's command line
//!   qemu, qmp    a virtual machine                       process     the process it runs in
//!   ports        its serial ports
//!   ipmi, pxe    a machine with a BMC                    link        the node, asked whether it runs
//!   start, stop  a node's beginning and end              monitor     its ihkmond
//!   crash        a machine whose node does not answer
//!   verbs        ihkosctl      ihkconfig   mcreboot   mcstop
//! ```
//!
//! Principles:
//!
//! 1. **Nothing starts before everything is checked**: the image by its note, the command line by the kernel's own parser.
//! 2. **What has no effect is refused**, by name and with the reason, never passed on.
//! 3. **A process is ended by a descriptor of it** after a look at what it is, never by its name or a number alone.
//! 4. **One tool at a time works on a node**: it holds a lock on the node's directory.

pub mod crash;
pub mod host_nodes;
pub mod ihkconfig;
pub mod image;
pub mod ipmi;
pub mod kargs;
mod link;
pub mod mcreboot;
pub mod mcstop;
pub mod memory;
mod monitor;
pub mod parameters;
pub mod place;
pub mod ports;
pub mod problem;
mod process;
mod pxe;
pub mod qemu;
mod qmp;
pub mod record;
pub mod start;
pub mod status;
pub mod stop;
pub mod verbs;
mod words;

pub use verbs::ihkosctl;
