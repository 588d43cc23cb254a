//! One function for each target: what is done with an input, and what must hold.

mod cmdline;
mod exports;
mod ext4;
mod lnet;
mod rpc;
mod services;
mod xdr;

pub use cmdline::cmdline;
pub use exports::exports;
pub use ext4::ext4;
pub use lnet::lnet;
pub use rpc::rpc;
pub use services::{mount, nfs3, nlm, nsm, rpcbind, rquota};
pub use xdr::xdr;
