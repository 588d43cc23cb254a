//! The programs of a node: what stands in `/bin`.
//!
//! All are written against [`crate::client::Files`] and the descriptors of their process, so that each works on
//! `/net/<node>/...` and on another node's terminal. Each reads and writes in pieces; none holds a whole file.

mod text;

use crate::procs::{Process, Program};
use alloc::boxed::Box;

macro_rules! programs {
    ($($module:ident: $($name:literal = $main:path, $usage:literal;)*)*) => {
        $(mod $module;)*

        /// All programs.
        pub static PROGRAMS: &[Program] = &[$($(Program {
            name: $name,
            usage: $usage,
            main: |process: Process| Box::pin(process.run($main)),
        },)*)*];
    };
}

programs! {
    plain:
        "echo" = plain::echo, "echo [-n] [text]...\nPrint text.\n";
        "true" = plain::yes, "true\nSucceed.\n";
        "false" = plain::no, "false\nFail.\n";
    cat:
        "cat" = cat::main, "cat [-u] [file]...\nPrint files; - is the input.\n";
}
