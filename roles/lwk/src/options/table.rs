//! The table of the role's options.

use super::{Listen, cpulist, memory, oversubscribe, page_sizes};
use alloc::string::{String, ToString};
use keelson_config::{Kind, OptionSpec};

/// The options of the role. A bad value keeps the node from running programs.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "svc",
        Kind::Custom { form: "CPULIST", check: |text| cpulist::parse(text).map(drop) },
        "Processors that serve the network, hosts and timers: 0, or a list with it as in 0,4-5.",
    )
    .default("0")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "cpus",
        Kind::Custom { form: "CPULIST or auto", check: cpus },
        "Processors for programs, which number them in the order of this list: all but the service cores, or a list such \
         as 1-4,7.",
    )
    .default("auto")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "mem",
        Kind::Custom { form: "SIZE@NODE[,...] or all", check: mem },
        "Memory for programs by NUMA node, in whole 2 MiB, such as 512M@0,1G@1: nothing of nodes that are not named. Of each \
         node the kernel keeps 64 MiB or 2 %, whichever is more; all is what it does not use.",
    )
    .default("all")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "hidos",
        Kind::Flag,
        "Whether hosts may connect and start programs, whose calls are then done there (McKernel's name).",
    )
    .default("on")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "listen",
        Kind::Custom { form: "PORT, serial:NAME or both", check: |text| Listen::parse(text).map(drop) },
        "Where mcexec and the other tools connect: a TCP port; ports of virtio consoles that are called NAME, or NAME and more \
         behind a dot, one connection on each; or both, as in 8810,serial:lwk. Whoever has the other end of a serial port needs no \
         key.",
    )
    .default("8810")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "psk",
        Kind::Custom { form: "64 HEX DIGITS", check: |text| key(text).map(drop) },
        "The key that hosts must know, for tests: everybody can read a command line, so it needs insecure=1 beside it. \
         Otherwise the key comes from QEMU's fw_cfg file opt/lwk/psk or from the initial RAM disk, in the same form.",
    )
    .owner("lwk")
    .essential()
    .secret(),
    OptionSpec::new(
        "insecure",
        Kind::Flag,
        "Whether the key may stand on the command line, and whether a node without any key lets every host of the network in.",
    )
    .default("off")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "crc",
        Kind::Flag,
        "Whether frames that no key protects carry a CRC-32C beside the checksum of TCP. On a serial port they always do.",
    )
    .default("off")
    .owner("lwk"),
    OptionSpec::new(
        "attrcache",
        Kind::Flag,
        "Whether what a host says about its files (stat, access, readlink) is believed for a second, until a program of the node \
         changes a file or hears from somebody.",
    )
    .default("on")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "allow_oversubscribe",
        Kind::Custom { form: "[THREADS]", check: |text| oversubscribe(text).map(drop) },
        "Whether a program may have more threads than processors: so many on each, 2 if no number is given. Otherwise \
         clone, fork and vfork fail with EINVAL.",
    )
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "time_sharing",
        Kind::Flag,
        "Whether threads that share a processor take turns of 10 ms; off, each runs until it waits. Only with \
         allow_oversubscribe, and only on processors that are shared.",
    )
    .default("on")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "idle",
        Kind::Choice(&["auto", "poll", "mwait", "halt"]),
        "What a processor for programs does while it has nothing to do: look for work all the time (poll), wait for a store \
         (mwait, where the processor has it), or halt until it is interrupted. auto looks for half a millisecond as long as work \
         comes that soon and nobody else takes the processor, then halts.",
    )
    .default("auto")
    .owner("lwk")
    .essential(),
    OptionSpec::new("idle_halt", Kind::Flag, "McKernel's name for idle=halt, which it goes before.")
        .default("off")
        .owner("lwk")
        .essential(),
    OptionSpec::new(
        "helpers",
        Kind::Integer { min: 0, max: 64 },
        "Threads of a process beyond its processors that may run on service cores, for the progress threads of MPI \
         libraries.",
    )
    .default("4")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "hugepages",
        Kind::Custom { form: "1g,2m,4k", check: |text| page_sizes(text).map(drop) },
        "Sizes of pages that programs get.",
    )
    .default("1g,2m,4k")
    .owner("lwk")
    .essential(),
    OptionSpec::new("thp", Kind::Flag, "Whether anonymous memory gets large pages without being asked for.")
        .default("on")
        .owner("lwk")
        .essential(),
    OptionSpec::new(
        "prefault",
        Kind::Choice(&["anon", "none", "all"]),
        "Which memory is there as soon as it is mapped, so that programs do not fault: private anonymous, none, or all.",
    )
    .default("anon")
    .owner("lwk")
    .essential(),
    OptionSpec::new("anon_on_demand", Kind::Flag, "McKernel's name for prefault=none, which it goes before.")
        .default("off")
        .owner("lwk")
        .essential(),
    OptionSpec::new(
        "fork",
        Kind::Choice(&["copy", "cow"]),
        "Whether fork copies memory at once, so that nobody faults later, or each page when it is written.",
    )
    .default("copy")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "shmall",
        Kind::Size { min: 1 << 20, max: 1 << 46 },
        "Most memory of all System V segments together (shmget(2)): beyond it there are no new ones (ENOSPC). Without it 7/8 of the \
         memory for programs, less where that leaves no 64M to others. Linux counts pages and has no limit by itself.",
    )
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "shm_rmid_forced",
        Kind::Flag,
        "Whether a System V segment goes with its last attach, and at the end of its creator when nobody has it attached, as with \
         Linux's kernel.shm_rmid_forced: programs that fail leave none behind. Off, ipcrm removes them.",
    )
    .default("off")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "turbo",
        Kind::Flag,
        "Whether processors may run faster than their nominal frequency while they are cool enough: programs then take now this \
         long and now that. Without effect in a virtual machine.",
    )
    .default("off")
    .owner("lwk"),
    OptionSpec::new(
        "mon_interval",
        Kind::Integer { min: -1, max: 86_400 },
        "Seconds between two looks of the node itself for cores that hang: a line in its log and the event HUNGUP; -1 or 0 is \
         never. ihkmond and `ihkosctl NODE events -i` look by themselves.",
    )
    .default("-1")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "stall_timeout",
        Kind::Integer { min: 0, max: 86_400 },
        "Seconds that the host may take for a call of a program before that is told: a line in the log and the event STALLED; \
         0 is never.",
    )
    .default("0")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "ikc_vector",
        Kind::Integer { min: 64, max: 239 },
        "Interrupt vector by which cores call each other, one that no device has; without it 49, which is below those of devices.",
    )
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "kmsg_size",
        Kind::Size { min: 64 << 10, max: 64 << 20 },
        "How much of its log the node keeps.",
    )
    // McKernel's: 4 MiB less a page.
    .default("4092K")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "dump_level",
        Kind::Choice(&["0", "24"]),
        "What a dump of the kernel holds (McKernel's numbers): 0 all memory, 24 only what the kernel uses, without free pages \
         and without those of programs.",
    )
    .default("24")
    .owner("lwk")
    .essential(),
    OptionSpec::new(
        "lwk.selftest",
        Kind::Choice(&["user"]),
        "Tests a part of the kernel on this machine and switches off: user runs programs in ring 3.",
    )
    .owner("lwk"),
    OptionSpec::new(
        "lwk.echo",
        Kind::Flag,
        "Whether TCP port 7 (RFC 862) returns what it is sent, for measurements.",
    )
    .default("off")
    .owner("lwk"),
];

fn cpus(text: &str) -> Result<(), String> {
    if text == "auto" { Ok(()) } else { cpulist::parse(text).map(drop) }
}

fn mem(text: &str) -> Result<(), String> {
    if text == "all" { Ok(()) } else { memory::parse(text).map(drop) }
}

/// A key as text: 32 bytes in hexadecimal.
pub fn key(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "accepted are 64 hexadecimal digits, for example from `openssl rand -hex 32`".to_string();
    let digits: &[u8; 64] = text.trim_end().as_bytes().try_into().map_err(|_| wrong())?;
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(wrong()) };
        *byte = (high << 4 | low) as u8;
    }
    Ok(key)
}
