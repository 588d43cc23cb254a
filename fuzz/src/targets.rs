//! One function for each target: what is done with an input, and what must hold.

mod cmdline;
mod exports;
mod ext4;
mod http;
mod lnet;
mod lwk_dump;
mod ops;
mod qnet_io;
mod qnet_kif;
mod qnet_l4;
mod qnet_names;
mod qnet_options;
mod qnet_procs;
mod qnet_sh;
mod qnet_wire;
mod rpc;
mod services;
mod xdr;

pub use cmdline::cmdline;
pub use exports::exports;
pub use ext4::ext4;
pub use http::http;
pub use lnet::lnet;
pub use lwk_dump::lwk_dump;
pub use ops::{sntp, syslog};
pub use qnet_io::qnet_io;
pub use qnet_kif::qnet_kif;
pub use qnet_l4::qnet_l4;
pub use qnet_names::qnet_names;
pub use qnet_options::qnet_options;
pub use qnet_procs::qnet_procs;
pub use qnet_sh::qnet_sh;
pub use qnet_wire::qnet_wire;
pub use rpc::rpc;
pub use services::{mount, nfs3, nlm, nsm, rpcbind, rquota};
pub use xdr::xdr;
