use super::status::{list, mask};
use super::*;
use crate::files::{FileType, Stat};
use crate::testing::view::View;
use std::sync::atomic::Ordering;

const LOOKER: Looker = Looker { pid: 100, tid: 100 };

fn text(entry: Entry, view: &View) -> String {
    let Entry::File(_, content) = entry else { panic!("a file") };
    String::from_utf8(content.make(view, LOOKER).unwrap().joined().unwrap()).unwrap()
}

fn proc_text(path: &str) -> String {
    let (view, parts) = (View::default(), path.split('/').map(str::as_bytes).collect::<Vec<_>>());
    text(find_proc(&view, LOOKER, &parts).unwrap_or_else(|_| panic!("{path} is there")), &view)
}

fn sys_text(path: &str) -> String {
    let view = View::default();
    text(SysTree::new(&view).unwrap().find(path).unwrap_or_else(|| panic!("{path} is there")), &view)
}

#[test]
fn sets() {
    assert_eq!(list(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
    assert_eq!(list(&[]), "");
    assert_eq!(mask(&[0, 3], 4), "9");
    assert_eq!(mask(&[0, 33], 40), "02,00000001");
}

#[test]
fn files_of_the_node() {
    assert_eq!(proc_text("sys/kernel/random/boot_id"), "11111111-1111-4111-9111-111111111111\n");
    assert_eq!(proc_text("sys/kernel/hostname"), "node7\n");
    assert_eq!(proc_text("mckernel"), "");
    assert_eq!(proc_text("uptime"), "12.34 40.00\n");
    assert!(proc_text("meminfo").starts_with("MemTotal:        2097152 kB\nMemFree:         1048576 kB\n"));
    assert!(proc_text("stat").starts_with("cpu  800 0 400 2800 0 0 0 0 0 0\ncpu0 200 0 100 700 0"));
    let told = ["ctxt 55\n", "btime 1700000000\n", "processes 7\n", "procs_running 2\n", "procs_blocked 0\n"];
    told.iter().for_each(|line| assert!(proc_text("stat").contains(line), "{line}"));
    assert!(proc_text("vmstat").starts_with("nr_free_pages 262144\nnr_anon_pages 0\n"));
    let cpuinfo = proc_text("cpuinfo");
    assert_eq!(cpuinfo.matches("processor\t: ").count(), 4);
    assert!(cpuinfo.contains("\nphysical id\t: 1\nsiblings\t: 2\ncore id\t\t: 0\ncpu cores\t: 2\n"));
    let interrupts = proc_text("interrupts");
    assert_eq!(interrupts.lines().next().unwrap(), "            CPU0       CPU1       CPU2       CPU3");
    let calls = interrupts.lines().find(|line| line.starts_with(" CAL:")).unwrap();
    assert_eq!(calls, " CAL:          0          1          2          3   Function call interrupts");
}

/// The columns are Linux's, and each value ends where its name does.
#[test]
fn lists_of_ipcs() {
    let row = |file: &str| {
        let text = proc_text(&format!("sysvipc/{file}"));
        let (head, row) = text.trim_end().split_once('\n').unwrap();
        let mut at = 0;
        for word in head.split_whitespace() {
            at += head[at..].find(word).unwrap() + word.len();
            // Permissions stand one column behind.
            let end = if word == "perms" { at } else { at.min(row.len()) };
            assert!(
                row.get(end..).is_none_or(|rest| rest.is_empty() || rest.starts_with(' ')),
                "{word}: {text}"
            );
        }
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("shm"), "-1 32769 1600 5000 70 71 2 1000 100 0 0 0 0 9 4096 0");
    assert_eq!(row("sem"), "7 1 600 3 0 0 0 0 4 5");
    assert_eq!(row("msg"), "7 2 600 12 2 70 0 0 0 0 0 6 0 5");
    assert_eq!(proc_text("sys/kernel/shmall"), "1000\n");
    assert_eq!(proc_text("sys/kernel/shm_rmid_forced"), "1\n");
}

#[test]
fn files_of_a_process() {
    let stat = proc_text("100/stat");
    assert!(
        stat.starts_with("100 (a (b) c) R 1 100 90 0 -1 0 0 0 0 0 200 100 0 0 20 0 2 0 300 8388608 1024 ")
    );
    // proc(5): 52 fields; the name has two blanks of its own.
    assert_eq!(stat.split_whitespace().count(), 52 + 2);
    assert_eq!(proc_text("100/statm"), "2048 1024 256 0 0 0 0\n");
    assert_eq!(proc_text("100/cmdline"), "prog\0-x\0");
    assert_eq!(proc_text("100/task/5000000/comm"), "a (b) c\n");
    let status = proc_text("100/status");
    for line in
        ["Name:\ta (b) c", "Uid:\t1000\t1000\t1000\t1000", "Cpus_allowed:\tb", "Cpus_allowed_list:\t0-1,3"]
    {
        assert!(status.lines().any(|other| other == line), "{line} in {status}");
    }
    assert!(proc_text("100/limits").contains("Max open files            unlimited            unlimited"));
    let maps = proc_text("100/maps");
    let first = "00400000-00402000 r-xp 00000000 08:01 77 ";
    assert_eq!(maps.lines().next().unwrap(), format!("{first:<73}/tmp/prog"));
    let smaps = proc_text("100/smaps");
    assert!(smaps.contains("AnonHugePages:      2048 kB\n"));
    let numa = "00600000 default heap anon=1 N1=1 kernelpagesize_kB=2048\n";
    assert!(proc_text("100/numa_maps").ends_with(numa));
    let view = View::default();
    assert!(find_proc(&view, LOOKER, &[b"101"]).is_err());
    assert!(find_proc(&view, LOOKER, &[b"0100"]).is_err());
    assert!(find_proc(&view, LOOKER, &[b"100", b"task", b"7"]).is_err());
    assert_eq!(proc_link(&view, LOOKER, &[b"self"]).unwrap(), b"100");
    assert_eq!(proc_link(&view, LOOKER, &[b"100", b"exe"]).unwrap(), b"/tmp/prog");
}

#[test]
fn processors_and_nodes() {
    let cpu = "devices/system/cpu";
    assert_eq!(sys_text(&format!("{cpu}/possible")), "0-3\n");
    assert_eq!(sys_text(&format!("{cpu}/offline")), "\n");
    assert_eq!(sys_text(&format!("{cpu}/cpu2/topology/core_siblings_list")), "2-3\n");
    assert_eq!(sys_text(&format!("{cpu}/cpu2/topology/thread_siblings")), "4\n");
    assert_eq!(sys_text(&format!("{cpu}/cpu1/cache/index0/size")), "1024K\n");
    assert_eq!(sys_text("devices/system/node/node1/distance"), "20 10\n");
    assert_eq!(sys_text("devices/system/node/node1/cpulist"), "2-3\n");
    assert!(sys_text("devices/system/node/node1/meminfo").contains("Node 1 MemFree:"));
    let view = View::default();
    let tree = SysTree::new(&view).unwrap();
    assert_eq!(tree.link_at("devices/system/cpu/cpu3/node1").unwrap(), b"../../node/node1");
    assert_eq!(tree.link_at("bus/cpu/devices/cpu0").unwrap(), b"../../../devices/system/cpu/cpu0");
    // What lies outside of the partition is not there (section 1.2).
    for path in ["devices/system/cpu/cpu4", "devices/system/node/has_cpu", "devices/system/node/node2"] {
        assert!(tree.find(path).is_none(), "{path}");
    }
    assert!(matches!(tree.find("devices/system"), Some(Entry::Directory(list)) if list.named.len() == 2));
}

#[test]
fn the_tree_of_sys_stays_so_it_is_not_made_without_memory() {
    let view = View::default();
    view.short.store(true, Ordering::Relaxed);
    assert_eq!(SysTree::new(&view).err(), Some(Errno::ENOMEM));
}

#[test]
fn numbers_come_before_names() {
    let mut entries = Entries::numbered(vec![3, 70], FileType::Directory);
    entries.named.push(("self".into(), FileType::Link));
    assert_eq!(entries.directories(), 2);
    let directory = DirectoryFile::fixed(Stat { inode: 100, ..Stat::default() }, entries);
    let list = |from| {
        let mut list = Vec::new();
        directory.read(from, |next, inode, kind, name| {
            list.push((next, inode, kind, String::from_utf8_lossy(name).into_owned()));
            true
        });
        list
    };
    let (three, seventy) =
        ((3, 101, FileType::Directory, "3".into()), (4, 102, FileType::Directory, "70".into()));
    let name = (5, 103, FileType::Link, "self".into());
    assert_eq!(list(2), [three, seventy.clone(), name.clone()]);
    assert_eq!((list(3), list(5)), (vec![seventy, name], Vec::new()));
}
