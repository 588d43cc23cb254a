//! Dumps: files that are written, what debuggers and tools find in them, and what becomes of files that are not whole.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use keelson_lwk_host::dump::elf::{self, Load, Note, PAGE};
use keelson_lwk_host::dump::file::Dump;
use keelson_lwk_host::dump::memory::{Memory, Unread};
use keelson_lwk_host::dump::notes::{Description, Source};
use keelson_lwk_host::dump::qemu;
use keelson_lwk_host::dump::view::View;
use keelson_lwk_host::dump::writer::Writer;
use keelson_lwk_wire::Errno;
use keelson_lwk_wire::bytes::Writer as Bytes;
use keelson_lwk_wire::dump::{CoreState, DumpRecord, Level, STREAM_VERSION, register};
use keelson_lwk_wire::frame::{Flags, FrameType};
use keelson_lwk_wire::handshake::Modes;
use keelson_lwk_wire::messages::{Ctrl, CtrlAnswer, CtrlReply, Message};

use crate::sim::{NodeLane, Scratch, listen};
use crate::world::*;

fn description(world: &World, level: Level, reports: &[(&str, &str)]) -> Description {
    Description {
        info: world.info.clone(),
        level,
        source: Source::Node,
        reports: reports.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect(),
    }
}

/// A dump of the kernel's pages, without reports.
fn dump(world: &World, path: &Path) {
    let mut writer = Writer::create(path).unwrap();
    for range in KERNEL {
        writer.memory_with_zeros(range.start, world.range(range)).unwrap();
    }
    writer.finish(&description(world, Level::Kernel, &[])).unwrap();
}

/// Runs a tool: exit code, output, errors.
fn tool(scratch: &Scratch, words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lwkctl"))
        .args(words)
        .current_dir(&scratch.0)
        .env("LWK_CONF", scratch.path("nodes"))
        .env_remove("LWK_IMAGE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn said(scratch: &Scratch, words: &[&str]) -> String {
    let (code, out, errors) = tool(scratch, words);
    assert_eq!(code, 0, "{words:?}: {errors}");
    out
}

#[test]
fn what_was_written_is_read() {
    let scratch = Scratch::new("dump-written");
    let (world, path) = (World::new(), PathBuf::from(scratch.path("mcdump")));
    let reports = [("ps", "all\n"), ("maps.77", "there\n"), ("kmsg", "lines\n")];
    let mut writer = Writer::create(&path).unwrap();
    for range in KERNEL {
        writer.memory_with_zeros(range.start, world.range(range)).unwrap();
    }
    assert_eq!(writer.len(), KERNEL.iter().map(|range| range.end - range.start).sum());
    // What does not follow, or is no page, is refused.
    assert!(writer.memory(0x1_0000, &[1; 4096]).is_err() && writer.memory(0x30_0000, &[1; 100]).is_err());
    assert!(writer.zeros(u64::MAX - 4095, 8192).is_err());
    writer.finish(&description(&world, Level::Kernel, &reports)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let dump = Dump::open(&path).unwrap();
    assert_eq!(dump.description, description(&world, Level::Kernel, &reports));
    for range in KERNEL {
        let mut bytes = vec![1; (range.end - range.start) as usize];
        dump.memory.read(range.start, &mut bytes).unwrap();
        assert_eq!(bytes, world.range(range));
    }
    assert_eq!(dump.memory.read(0x30_1000, &mut [0; 8]), Err(Unread::Absent(0x30_1000)));
    assert_eq!(dump.memory.read(0x20_0ffc, &mut [0; 8]), Err(Unread::Absent(0x20_1000)));
    assert!(!String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("secret of the program"));
    let view = View { description: &dump.description, memory: &dump.memory };
    assert_eq!((view.ps(), view.maps(77).unwrap()), ("all\n".into(), "there\n".into()));
    assert_eq!(view.kmsg().unwrap(), "lines\n");

    // As McKernel's: names of sections, and what the chunks say.
    let sections = Command::new("readelf").args(["-S", "-W"]).arg(&path).output().unwrap();
    let sections = String::from_utf8(sections.stdout).unwrap();
    for name in ["date", "hostname", "user", "physchunks", "physmem0", "physmem4"] {
        assert!(sections.contains(&format!(" {name} ")), "{name}: {sections}");
    }
    let chunks = Command::new("readelf").args(["-x", "physchunks"]).arg(&path).output().unwrap();
    let chunks = String::from_utf8(chunks.stdout).unwrap();
    assert!(chunks.contains("05000000 00000000 00001000 00000000"), "{chunks}");
}

#[test]
fn half_a_dump_is_none() {
    let scratch = Scratch::new("dump-half");
    let (world, path) = (World::new(), PathBuf::from(scratch.path("mcdump")));
    Writer::create(&path).unwrap().memory(0, &[1; 4096]).unwrap();
    assert!(!path.exists());
    fs::write(&path, "mine").unwrap();
    let problem = Writer::create(&path).err().unwrap();
    assert!(problem.to_string().ends_with("File exists (os error 17)"), "{problem}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    let problem = Writer::create(Path::new(&scratch.path("no/such"))).err().unwrap();
    assert!(problem.to_string().contains("No such file or directory"), "{problem}");

    fs::remove_file(&path).unwrap();
    dump(&world, &path);
    let whole = fs::read(&path).unwrap();
    // Cut off, or with one byte changed: it is read or refused, and nothing is believed that is not there.
    let mut changed = whole.clone();
    let look = |bytes: &[u8]| {
        let path = scratch.path("broken");
        fs::write(&path, bytes).unwrap();
        let Ok(dump) = Dump::open(Path::new(&path)) else { return };
        let view = View { description: &dump.description, memory: &dump.memory };
        let _ = (view.info(), view.cpus(), view.ps(), view.threads(), view.kmsg(), view.maps(77));
        for address in [0, 0x40_1000, LINK, STACK0, u64::MAX] {
            let _ = (view.vtop(77, address), view.vtop(0, address), view.words(address, 4));
        }
    };
    for len in (0..whole.len()).step_by(1999) {
        look(&whole[..len]);
    }
    let interesting = (0..64).chain(whole.len() - 2000..whole.len()).chain(0x1_0000..0x1_0100);
    for at in interesting.chain((4096..whole.len()).step_by(997)) {
        let before = std::mem::replace(&mut changed[at], 0xff);
        look(&changed);
        changed[at] = before;
    }
}

#[test]
fn plain_gdb_shows_cores_and_names() {
    let scratch = Scratch::new("dump-gdb");
    let (world, path) = (World::new(), PathBuf::from(scratch.path("mcdump")));
    let kernel = kernel(&scratch.0);
    dump(&world, &path);
    let output = Command::new("gdb")
        .args(["-nx", "-q", "-batch", "-ex", "info threads", "-ex", "backtrace"])
        .args([
            "-ex",
            "x/2gx 0xffff800000200f00",
            "-ex",
            "x/3i inner",
            "-ex",
            "thread 3",
            "-ex",
            "backtrace 1",
        ])
        .args([&kernel, &path])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.matches("    LWP 100000").count(), 3, "{text}{errors}");
    // It begins with the core that failed, of which it shows why it ended.
    assert!(text.contains("* 1    LWP 1000000 "), "{text}{errors}");
    assert!(text.contains("signal SIGABRT"), "{text}{errors}");
    assert!(text.contains("#1  0xffffffff80000011 in outer ()"), "{text}{errors}");
    assert!(text.contains("0xffff800000200f00:\t0xffffd00000040f20\t0xffffffff80000011"), "{text}{errors}");
    assert!(text.contains("#0  0xffffffff80000011 in outer ()"), "{text}{errors}");
}

#[test]
fn eclair_finds_what_is_asked() {
    let scratch = Scratch::new("dump-eclair");
    let world = World::new();
    kernel(&scratch.0);
    dump(&world, Path::new(&scratch.path("mcdump")));
    let says = |command: &str| said(&scratch, &["eclair", "-x", command]);
    let info = says("info");
    for line in [
        "booted    2024-02-29T12:34:56.000000Z",
        "kargs     hidos cpus=1-3",
        "stopped   1.500000 s after it booted",
        "panic     core 0: panic: the test says so",
    ] {
        assert!(info.lines().any(|row| row == line), "{info}");
    }
    assert!(says("ps").ends_with("     77     1 0000000000020000 a.out\n"), "{}", says("ps"));
    assert_eq!(
        says("threads"),
        "    TID     PID CORE STATE     COMMAND\n      0       0    0 panicked  in the kernel\n     78      77    1 \
         stopped   a.out\n      0       0    2 stopped   in the kernel\n      0       0    3 not seen  no registers\n"
    );
    let cpus = says("cpus");
    assert!(cpus.starts_with("core 0: panic: the test says so\ncore 0: panicked, in the kernel\n"), "{cpus}");
    assert!(cpus.contains("core 1: stopped, in a program\n  rip     0000000000400010"), "{cpus}");
    assert_eq!(says("kmsg"), "lwk: one\nlwk: two\n");
    let way = says("vtop 77 0x401234");
    assert!(way.starts_with("process 77, root table 0x20000\n  PML4 [  0] 0000000000021007\n"), "{way}");
    assert!(way.ends_with("0x401234 -> 0x301234   page of 4K, rw- user\n"), "{way}");
    assert!(says("vtop 77 0x40000010").ends_with("0x40000010 -> 0x200010   page of 2M, rw- user\n"));
    assert!(says("vtop 0 0xffff800000300000").ends_with("-> 0x300000   page of 1G, rw- kernel\n"));
    assert!(says("vtop 77 0x500000").ends_with("0x500000 is not mapped\n"));
    assert_eq!(
        says("maps 77"),
        "000000400000-000000401000 r-x user 4 KiB\n000000401000-000000402000 rw- user 4 KiB\n\
         000040000000-000040200000 rw- user 2048 KiB\n"
    );
    assert_eq!(says("x 0xffffd00000040f00 2"), "ffffd00000040f00: ffffd00000040f20 ffffffff80000011\n");
    assert!(says("x inner 1").contains("<inner>:\t0xc3c99090e5894855"), "{}", says("x inner 1"));

    let (code, trace, errors) = tool(&scratch, &["eclair", "-x", "bt"]);
    assert!(code == 0 && !errors.contains("Remote communication error"), "{errors}");
    assert!(
        !trace.contains("error")
            && trace.contains("in inner ()")
            && trace.contains("#1  0xffffffff80000011 in outer ()"),
        "{trace}"
    );
    let all = says("bt all");
    assert_eq!(all.matches("\nThread ").count(), 3, "{all}");
    assert!(all.contains("(Thread 78 ") && all.contains("(Thread 1000002 "), "{all}");
    assert!(says("bt 78").contains("0x0000000000400010 in ?? ()"));
    assert!(says("bt 1000002").contains("in outer ()"));

    for (command, code, reason) in [
        ("requests", 1, "requests: not in this dump: the node did not answer when it was made"),
        ("maps 5", 2, "process 5: not there; there are: 77"),
        ("bt 5", 2, "thread 5: no such thread on any core; -x threads shows those there are"),
        ("x 0xffffd00000000000", 1, "0xffffd00000000000: nothing is mapped at 0xffffd00000000000"),
        ("x 0xffff800000300000", 1, "0xffff800000300000: physical address 0x300000 is not in the dump"),
        ("dance", 2, "-x: \"dance\" is no command   (--help says more)"),
    ] {
        let (ended, out, errors) = tool(&scratch, &["eclair", "-x", command]);
        assert_eq!(
            (ended, out.as_str(), errors.as_str()),
            (code, "", &*format!("eclair: {reason}\n")),
            "{command}"
        );
    }
    let (code, _, errors) = tool(&scratch, &["eclair", "-i"]);
    assert!(code == 2 && errors.contains("its memory is in the file: look without -i"), "{errors}");
    fs::remove_file(scratch.path("lwk.elf")).unwrap();
    let (code, _, errors) = tool(&scratch, &["eclair", "-x", "bt"]);
    assert!(
        code == 1 && errors.contains("lwk-compute.elf") && errors.contains("name it with -k"),
        "{errors}"
    );
}

#[test]
fn eclair_as_a_debugger() {
    let scratch = Scratch::new("dump-debugger");
    kernel(&scratch.0);
    dump(&World::new(), Path::new(&scratch.path("mcdump")));
    let debug = |flags: &[&str], commands: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lwkctl"));
        command.arg("eclair").args(flags).current_dir(&scratch.0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), commands.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    // Threads of programs, and the core that failed; all cores; cores as cores.
    let text = debug(&[], "bt\nthread 2\ninfo registers rbx\nquit\n");
    assert!(text.contains("(eclair) "), "{text}");
    assert!(text.contains("* 1    Thread 1000000 (core 0: no program, panicked)"), "{text}");
    assert!(text.contains("  2    Thread 78 (core 1: a.out, in the program)"), "{text}");
    assert!(text.contains("in outer ()") && text.contains("0x1122"), "{text}");
    assert!(!text.contains("Thread 1000002 "), "{text}");
    let text = debug(&["-l"], "quit\n");
    assert!(
        text.contains("Thread 78 ") && text.contains("Thread 1000002 (core 2: no program, in the kernel)"),
        "{text}"
    );
    let text = debug(&["-cl"], "quit\n");
    assert!(text.contains("Thread 1000001 (core 1: a.out") && !text.contains("Thread 78 "), "{text}");
    // Nothing can be changed, and nothing moves.
    let text = debug(&[], "set var *(long*)0xffffd00000040f00 = 1\nx/gx 0xffffd00000040f00\nstepi\nquit\n");
    assert!(text.contains("0xffffd00000040f20") && text.contains("Cannot access memory"), "{text}");
}

/// A dump as QEMU writes it of the machine: processors 0 and 1 as the kernel saw them, 2 and 3 elsewhere.
fn vmcore(world: &World, path: &Path) {
    let mut notes = Vec::new();
    for number in 0..4u64 {
        let mut desc = vec![0; 336];
        let values = [(register::RIP, LINK + 0x11), (register::CS, 8), (register::R15, number)];
        for (register, value) in values {
            desc[112 + register * 8..][..8].copy_from_slice(&u64::to_le_bytes(value));
        }
        Note { owner: "CORE".into(), kind: 1, desc }.write(&mut notes);
    }
    for number in 0..4u64 {
        let mut desc = vec![0; 440];
        for (at, value) in [(264, DIRECT + number), (408, 0xdead), (416, 0x1_0000)] {
            desc[at..][..8].copy_from_slice(&u64::to_le_bytes(value));
        }
        Note { owner: "QEMU".into(), kind: 0, desc }.write(&mut notes);
    }
    let firmware = vec![0xf4; 4096];
    let loads = [
        Load { address: 0, physical: 0, offset: 8192, len: 0xa_0000 },
        Load { address: 0, physical: IMAGE, offset: 8192 + 0xa_0000, len: RAM - IMAGE },
        Load { address: 0, physical: 0xffff_f000, offset: 8192 + 0xa_0000 + RAM - IMAGE, len: 4096 },
    ];
    let mut file = elf::header(4, 64, 0, 0);
    file.extend(elf::program_headers((512, notes.len() as u64), &loads));
    file.resize(512, 0);
    file.extend(notes);
    assert!(file.len() <= 8192);
    file.resize(8192, 0);
    file.extend(world.range(0..0xa_0000));
    file.extend(world.range(IMAGE..RAM));
    file.extend(firmware);
    fs::write(path, file).unwrap();
}

#[test]
fn a_dump_of_a_machine_becomes_one_of_its_node() {
    let scratch = Scratch::new("dump-vmcore");
    let mut world = World::new();
    // A copy of the block that was under way somewhere.
    let copy = world.info.encode();
    world.put(0x3_0000, &copy);
    vmcore(&world, Path::new(&scratch.path("vmcore")));
    let (code, out, errors) = tool(&scratch, &["vmcore2mckdump", "vmcore", "mcdump"]);
    assert_eq!((code, out.as_str(), errors.as_str()), (0, "mcdump: mcdump is extracted.\n", ""));
    let dump = Dump::open(Path::new(&scratch.path("mcdump"))).unwrap();
    assert_eq!((dump.description.level, dump.description.source), (Level::All, Source::Machine));
    let cores = &dump.description.info.cores;
    assert_eq!(cores[..3], world.info.cores[..3]);
    // The one that the kernel did not see.
    assert_eq!((cores[3].state, cores[3].registers[register::R15]), (CoreState::Live, 3));
    assert_eq!((cores[3].cr2, cores[3].cr3, cores[3].per_cpu), (0xdead, 0x1_0000, DIRECT + 3));
    let mut ram = vec![1; (MEMORY_END - IMAGE) as usize];
    dump.memory.read(IMAGE, &mut ram).unwrap();
    assert!(ram == world.range(IMAGE..MEMORY_END) && dump.memory.read(MEMORY_END, &mut [0]).is_err());
    assert!(
        dump.memory.read(0xffff_f000, &mut [0]).is_err() && dump.memory.read(0xa_0000, &mut [0]).is_err()
    );
    assert_eq!(said(&scratch, &["eclair", "-x", "kmsg"]), "lwk: one\nlwk: two\n");
    assert!(said(&scratch, &["eclair", "-x", "x 0xffff800000301000 1"]).contains("6f20746572636573"));

    for (words, reason) in [
        (&["vmcore2mckdump", "vmcore"][..], "1 files given; two are needed\nusage: vmcore2mckdump"),
        (&["vmcore2mckdump", "vmcore", "mcdump"], "mcdump: File exists"),
        (&["vmcore2mckdump", "mcdump", "other"], "no registers of processors"),
        (&["vmcore2mckdump", "nodes", "other"], "nodes: No such file"),
        (&["eclair", "-d", "vmcore", "-x", "ps"], "convert it: vmcore2mckdump"),
    ] {
        let (code, out, errors) = tool(&scratch, words);
        assert!(code == 1 && out.is_empty() && errors.contains(reason), "{words:?}: {code} {errors}");
        assert!(!Path::new(&scratch.path("other")).exists());
    }
    // A machine where something else ran.
    world.ram.fill(0);
    vmcore(&world, Path::new(&scratch.path("linux")));
    let (code, _, errors) = tool(&scratch, &["vmcore2mckdump", "linux", "other"]);
    assert!(code == 1 && errors.contains("no LWK node ran in it"), "{errors}");
    let missing =
        qemu::convert(Path::new("/nowhere"), Writer::create(Path::new(&scratch.path("x"))).unwrap());
    assert!(missing.is_err() && !Path::new(&scratch.path("x")).exists());
}

/// A node whose memory is the world's. It hangs up in the middle of a dump of level 0.
fn serve(listener: TcpListener) {
    let world = World::new();
    while let Ok((socket, _)) = listener.accept() {
        let Some(lane) = NodeLane::accept(Box::new(socket), Modes::AEAD) else { continue };
        for frame in lane.frames() {
            if frame.header.kind != FrameType::Ctrl {
                continue;
            }
            let ctrl = Ctrl::decode(&frame.payload).unwrap();
            let header = frame.header.reply(FrameType::CtrlReply);
            let bytes = |bytes: Vec<u8>| lane.send(&header, &CtrlReply { answer: CtrlAnswer::Binary(bytes) });
            let args: Vec<&str> = ctrl.args.iter().map(String::as_str).collect();
            match (ctrl.verb.as_str(), &args[..]) {
                ("info", []) => bytes(world.info.encode()),
                ("memory", [at, len]) => {
                    let (at, len): (u64, u64) = (at.parse().unwrap(), len.parse().unwrap());
                    if at + len > RAM {
                        let answer =
                            CtrlAnswer::Failed { error: Errno::EFAULT, text: "no memory there".into() };
                        lane.send(&header, &CtrlReply { answer });
                    } else {
                        bytes(world.range(at..at + len).to_vec());
                    }
                }
                ("dump", words) => {
                    let more = header.with(Flags::REPLY | Flags::MORE);
                    let record = |header, record: DumpRecord<'_>| {
                        let mut bytes = Vec::new();
                        record.write(&mut Bytes::new(&mut bytes));
                        lane.send(header, &CtrlReply { answer: CtrlAnswer::Binary(bytes) });
                    };
                    let level = match words {
                        ["-d", "0", ..] => Level::All,
                        [] | ["-i"] | ["-d", "24", ..] => Level::Kernel,
                        other => panic!("{other:?}"),
                    };
                    record(&more, DumpRecord::Begin { level, version: STREAM_VERSION });
                    record(&more, DumpRecord::Info(&world.info.encode()));
                    for (name, text) in
                        [("mem", "a report"), ("mem", " in two parts\n"), ("remarks", "core 3 hangs\n")]
                    {
                        record(&more, DumpRecord::Text { name: name.into(), text: text.into() });
                    }
                    if level == Level::All {
                        break;
                    }
                    let mut pages = 0;
                    for range in KERNEL.iter().filter(|_| !words.contains(&"-i")) {
                        record(
                            &more,
                            DumpRecord::Memory { physical: range.start, bytes: world.range(range.clone()) },
                        );
                        pages += (range.end - range.start) / PAGE;
                    }
                    record(&header, DumpRecord::End { pages });
                }
                _ => bytes(vec![0]),
            }
        }
    }
}

fn node(name: &str) -> Scratch {
    let (scratch, listener) = (Scratch::new(name), listen());
    let (key, address) = (scratch.path("key"), listener.local_addr().unwrap());
    fs::write(&key, format!("default {}\n", "5a".repeat(32))).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(scratch.path("nodes"), format!("0 sim {address} {key}\n1 gone 127.0.0.1:1 {key}\n")).unwrap();
    // It ends with the test process.
    thread::spawn(move || serve(listener));
    scratch
}

#[test]
fn a_node_is_dumped() {
    let scratch = node("dump-node");
    let (code, out, errors) = tool(&scratch, &["ihkosctl", "0", "dump", "mcdump"]);
    assert_eq!((code, out.as_str(), errors.as_str()), (0, "", "ihkosctl: node sim: core 3 hangs\n"));
    let dumped = Dump::open(Path::new(&scratch.path("mcdump"))).unwrap();
    assert_eq!(
        dumped.description,
        description(
            &World::new(),
            Level::Kernel,
            &[("mem", "a report in two parts\n"), ("remarks", "core 3 hangs\n")]
        )
    );
    assert_eq!(said(&scratch, &["eclair", "-x", "mem"]), "a report in two parts\n");
    assert!(said(&scratch, &["eclair", "-x", "info"]).ends_with("remarks   core 3 hangs\n"));
    assert_eq!(
        said(&scratch, &["eclair", "-x", "x 0xffffd00000040f08 1"]),
        "ffffd00000040f08: ffffffff80000011\n"
    );
    // A name of its own.
    let name = said(&scratch, &["ihkosctl", "0", "dump", "-d", "24"]);
    let digits: Vec<&str> = name.trim().strip_prefix("mcdump_").unwrap().split('_').collect();
    assert_eq!(digits.iter().map(|digits| digits.len()).collect::<Vec<_>>(), [8, 6], "{name}");
    assert!(Path::new(&scratch.path(name.trim())).exists());
    for (words, code, reason) in [
        (&["0", "dump", "mcdump"][..], 1, "mcdump: File exists (os error 17)"),
        (&["0", "dump", "no/such"], 1, "no/such: No such file or directory (os error 2)"),
        (&["0", "dump", "-d", "1"], 2, "dump: -d 1: accepted are 0 and 24"),
        (&["0", "dump", "-d", "0", "half"], 3, "node sim: cannot be reached"),
        (&["--timeout=1", "1", "dump", "none"], 3, "node gone: cannot be reached"),
    ] {
        let (ended, out, errors) = tool(&scratch, &[&["ihkosctl"], words].concat());
        assert!(ended == code && out.is_empty() && errors.contains(reason), "{words:?}: {ended} {errors}");
    }
    assert!(!Path::new(&scratch.path("half")).exists() && !Path::new(&scratch.path("none")).exists());
}

#[test]
fn a_node_that_waits_is_looked_into() {
    let scratch = node("dump-waits");
    kernel(&scratch.0);
    assert_eq!(said(&scratch, &["ihkosctl", "0", "dump", "-i", "mcdump"]), "");
    assert!(fs::metadata(scratch.path("mcdump")).unwrap().len() < 128 << 10);
    // A program's memory too: it is all there.
    assert!(said(&scratch, &["eclair", "-i", "-x", "x 0xffff800000301000 1"]).contains("6f20746572636573"));
    assert!(said(&scratch, &["eclair", "-i", "-o", "0", "-x", "bt"]).contains("in outer ()"));
    let (code, _, errors) = tool(&scratch, &["eclair", "-x", "ps"]);
    assert!(code == 2 && errors.contains("its memory is still in the node: look with -i"), "{errors}");
}

#[test]
fn a_node_that_runs_is_inspected() {
    let scratch = node("dump-inspect");
    let ps = said(&scratch, &["mcinspect", "--ps"]);
    assert!(ps.ends_with("     77     1 0000000000020000 a.out\n"), "{ps}");
    let way = said(&scratch, &["mcinspect", "--node=sim", "--vtop", "-p", "77", "-v", "0x401008"]);
    assert!(way.ends_with("0x401008 -> 0x301008   page of 4K, rw- user\n"), "{way}");
    let way = said(&scratch, &["mcinspect", "--vtop", "-v", "0xffffd00000040f00"]);
    assert!(way.starts_with("kernel, root table 0x10000\n") && way.contains("-> 0x200f00 "), "{way}");
    let image = kernel(&scratch.0);
    let image = image.to_str().unwrap();
    let (code, _, errors) = tool(&scratch, &["mcinspect", "--ps", "--debug", "--kernel", image]);
    assert!(code == 0 && errors.contains("kernel 0xffffffff80000000 at 0x100000"), "{errors}");
    for (words, code, reason) in [
        (&["--vtop", "-v", "0x500000", "-p", "77"][..], 1, ""),
        (&["--vtop", "-v", "0x500000", "-p", "5"], 2, "process 5: not on the node"),
        (&["--vtop"], 2, "--vtop and -v <address> belong together"),
        (&["--ps", "--vtop", "-v", "1"], 2, "one of --ps and --vtop must be given"),
        (&["--vtop", "-v", "x"], 2, "-v: x: accepted is a number"),
    ] {
        let (ended, _, errors) = tool(&scratch, &[&["mcinspect"], words].concat());
        assert!(ended == code && errors.contains(reason), "{words:?}: {ended} {errors}");
    }
}
