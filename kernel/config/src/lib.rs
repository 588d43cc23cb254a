//! The kernel command line and the registry of options it sets.
//!
//! Principles:
//!
//! 1. **The line is written as for Linux**: words separated by blanks, `key=value` or `key`, double quotes
//!    group blanks, `-` and `_` are the same in a key, and what follows `--` is not ours.
//! 2. **One table is the truth.** A crate describes its options in `pub const OPTIONS: &[OptionSpec]`; the
//!    parser, the messages, the help text at boot and the documentation are made from it.
//! 3. **The effective line is the role's default line followed by the loader's.** The last value of an
//!    option wins; options declared repeatable collect their values.
//! 4. **Every value is checked when it is read, before anything starts.** A mistake becomes a [`Problem`]
//!    that names the option, the value and what is accepted. Mistakes in the role's own options make the
//!    role refuse to serve ([`Severity::Refuse`]); others leave the default in force.
//!
//! ```
//! use keelson_config::{Config, Kind, OptionSpec, Severity};
//!
//! const OPTIONS: &[OptionSpec] = &[
//!     OptionSpec::new("nfs.threads", Kind::Integer { min: 1, max: 64 }, "Requests served at once.")
//!         .default("8")
//!         .owner("nfs-server"),
//!     OptionSpec::new("nfs.export", Kind::Text, "One export.").repeatable().owner("nfs-server"),
//! ];
//! let config = Config::parse(&[OPTIONS], &["nfs"], "nfs.export=/a", b"BOOT_IMAGE=x nfs.export=/b");
//! assert_eq!(config.integer("nfs.threads"), Some(8));
//! assert_eq!(config.texts("nfs.export").collect::<Vec<_>>(), ["/a", "/b"]);
//!
//! let config = Config::parse(&[OPTIONS], &["nfs"], "", b"nfs.exprot=/a");
//! assert_eq!(config.problems()[0].severity, Severity::Refuse);
//! ```
//!
//! Not here: where the line comes from (the boot code), and the grammar inside a value that belongs to one
//! subsystem (`ip=`, exports): its owner checks that through [`Kind::Custom`].

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod config;
mod help;
mod problem;
mod spec;
mod suggest;
mod value;
mod words;

pub use config::{Config, MAX_LINE};
pub use help::{help, markdown};
pub use problem::{Cause, Problem, Severity};
pub use spec::{Kind, OptionSpec, lint};
pub use value::{MmioDevice, parse_duration, parse_flag, parse_integer, parse_size, parse_unsigned};
pub use words::{Word, same_key, words};
