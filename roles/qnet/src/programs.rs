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
        "pwd" = plain::pwd, "pwd\nPrint the working directory.\n";
        "sleep" = plain::sleep, "sleep seconds\nWait; fractions are allowed.\n";
        "use" = plain::usage, "use program\nPrint how a program is used.\n";
    cat:
        "cat" = cat::main, "cat [-u] [file]...\nPrint files; - is the input.\n";
    machine:
        "date" = machine::date, "date [-u] [+format]\nPrint the time, as TZ or /etc/TIMEZONE has it.\n";
        "hostname" = machine::hostname, "hostname [name]\nPrint the name of this node, or give it another one.\n";
        "uname" = machine::uname, "uname [-amnrsv]\nPrint the system, its node, release, version, machine.\n";
        "nicinfo" = machine::nicinfo, "nicinfo [interface]...\nPrint the counters of network interfaces.\n";
        "mount" = machine::mount, "mount -T kind [-o options] object [path]\n\
            Load a driver or a protocol, as in: mount -T io-pkt -o do_crc=1 lsm-qnet.so\n";
        "umount" = machine::umount, "umount path\nTake away what is mounted: an interface, or Qnet (/net).\n";
    ls:
        "ls" = ls::main, "ls [-1aCdFl] [path]...\nList directories and files.\n";
    change:
        "mkdir" = change::mkdir, "mkdir [-p] [-m mode] directory...\nMake directories.\n";
        "rmdir" = change::rmdir, "rmdir directory...\nRemove empty directories; of /net/node: forget the node.\n";
        "rm" = change::rm, "rm [-fr] path...\nRemove files, and with -r what is in directories.\n";
        "mv" = change::mv, "mv from... to\nGive files another name, or another place.\n";
        "cp" = change::cp, "cp [-r] from... to\nCopy files, and with -r what is in directories.\n";
    attributes:
        "chmod" = attributes::chmod, "chmod mode path...\nSet permissions; the mode is octal.\n";
        "chown" = attributes::chown, "chown user[:group] path...\nSet owner and group; both are numbers.\n";
        "sync" = attributes::sync, "sync file...\nMake sure that files survive a power cut.\n";
    less:
        "less" = less::main, "less [file]...\nShow files page by page: space goes on, Enter a line, q ends.\n";
    grep:
        "grep" = grep::main, "grep [-chinvq] [-e pattern]... [pattern] [file]...\n\
            Print lines that fit a pattern: . * [abc] [^a-c] ^ $ \\\n";
    pidin:
        "pidin" = pidin::main, "pidin [-n node] [-p process] [-P process] [arg | mem | info | net]\n\
            Show processes, by id or name; their arguments, their memory; the machine; all machines.\n";
    signals:
        "slay" = signals::slay, "slay [-fQv] [-n node] [-s signal] process...\n\
            End processes by name or id. The status is how many there were.\n";
        "kill" = signals::kill, "kill [-s signal] pid...\nSend a signal to processes; of a negative number: to a group.\n";
    on:
        "on" = on::main, "on [-f node | -n node] [-p priority] program [argument]...\n\
            Run a program, on another node and with its root (-f), or from here (-n).\n";
    shell:
        "sh" = shell::main, "sh [-c line] [file]\nRun commands: a | b, a > f, a >> f, a < f, a &, a ; b, a && b, a || b.\n";
}
