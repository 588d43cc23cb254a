//! What administrators look with: `rpcinfo`, `showmount`, and what `mount` says when it is refused.

use std::path::Path;

use keelson_qemu::{Cache, Drive, Ext4Spec, Grace, Knfsd, LinuxGuest, LinuxSpec, WireProtocols};

use super::{LONG, World, exportfs, exports, messages};

pub const OURS: &str = "10.0.0.1";
pub const KNFSD: &str = "10.0.0.4";

/// Programs, versions and transports of knfsd's host that the appliance does not serve.
const NOT_YET: [&str; 5] = [
    "100003 4 tcp 2049 nfs",
    "100005 2 tcp 20048 mountd",
    "100005 2 udp 20048 mountd",
    // POSIX access control lists, a protocol of Linux and Solaris.
    "100227 3 tcp nfs_acl",
    "100227 3 udp nfs_acl",
];

/// What the appliance serves and knfsd's host does not: there quotas are a package of their own.
const MORE: [&str; 4] =
    ["100011 1 tcp rquotad", "100011 1 udp rquotad", "100011 2 tcp rquotad", "100011 2 udp rquotad"];

/// Programs whose ports everybody knows; those of the others are any.
const KNOWN_PORTS: [&str; 3] = ["100000", "100003", "100005"];

/// The same client runs the same commands against the appliance and against Linux's own server with the same exports of
/// the same tree.
pub fn compare_with_knfsd(world: &World, tree: &Path) {
    let reference = knfsd(world, tree);
    programs(world);
    exportfs::compare(world, &reference);
    for (what, script) in COMPARED.into_iter().chain(messages::COMPARED) {
        let [ours, theirs] = [OURS, KNFSD].map(|server| {
            let script = format!("S={server}\n{script}");
            world.check(&format!("{what} ({server})"), &script).replace(server, "SERVER")
        });
        assert!(!ours.is_empty(), "{what}");
        assert_eq!(sorted(&ours), sorted(&theirs), "{what}: what the appliance says, and what knfsd says");
    }
    messages::compare_removed_exports(world, &reference);
    reference.power_off().unwrap();
}

/// Scripts that print the same for both servers, in whatever order.
const COMPARED: [(&str, &str); 6] = [
    ("showmount -e", "showmount -e $S"),
    (
        "showmount -a, showmount -d",
        r#"
        mount -t nfs -o vers=3,nolock $S:/pub /mnt
        showmount -a $S; showmount -d $S
        umount.nfs /mnt
        "#,
    ),
    (
        "rpcinfo of what is not there",
        r#"
        for what in "-t $S mountd 9" "-u $S mountd 9" "-t $S 100099 1" "-u $S 100099 1"; do
            rpcinfo $what 2>&1 && { echo "rpcinfo $what: found" >&2; exit 1; }
        done
        true
        "#,
    ),
    (
        "mount below an export",
        r#"
        for path in /pub/below /other; do
            mount -t nfs -o vers=3,nolock $S:$path /mnt
            echo "$path: $(ls /mnt)"
            umount.nfs /mnt
        done
        "#,
    ),
    (
        "mount of what is not there",
        r#"
        for path in /nowhere /pub/nowhere /pub/hello; do
            mount -t nfs -o vers=3,nolock $S:$path /mnt 2>&1 && { echo "$path is mounted" >&2; exit 1; }
        done
        true
        "#,
    ),
    (
        "mount from an address that may not",
        r#"
        ip addr add 10.0.0.99/24 dev eth0; ip route add $S dev eth0 src 10.0.0.99
        for path in / /other /nowhere; do
            mount -t nfs -o vers=3,nolock $S:$path /mnt 2>&1 && { echo "$path is mounted" >&2; exit 1; }
        done
        ip route del $S; ip addr del 10.0.0.99/24 dev eth0
        "#,
    ),
];

/// Linux's server beside ours, at the port for MOUNT that ours has.
fn knfsd(world: &World, tree: &Path) -> LinuxGuest {
    let disk = world.bench.ext4("knfsd", &Ext4Spec::new(16 << 20).populated_from(tree)).unwrap();
    let spec = LinuxSpec::new("knfsd").memory_mib(256).on(&world.lan, &format!("{KNFSD}/24"));
    let spec = spec.drive(Drive::file(disk.path()).cache(Cache::Unsafe));
    let guest = LinuxGuest::boot(&world.bench, spec).unwrap();
    guest.start_statd().unwrap();
    let config = "[exports]\nrootdir=/srv\n[mountd]\nport=20048\n";
    guest.write_file("/etc/nfs.conf", config.as_bytes()).unwrap();
    guest.ok("mount -t ext4 /dev/vda /srv", LONG).unwrap();
    let (protocols, grace) = (WireProtocols::TcpAndUdp, Grace::Skip);
    guest.start_knfsd(&Knfsd { exports: exports("\n"), threads: 2, protocols, grace }).unwrap();
    // As administrators have it: with version 4.
    guest.ok("rpc.nfsd 0; rpc.nfsd --udp 2", LONG).unwrap();
    guest
}

/// `rpcinfo -p`: every line of ours is one of knfsd's host, and those that are missing or more are known.
fn programs(world: &World) {
    let [ours, theirs] = [OURS, KNFSD].map(|server| {
        let printed = world.check(&format!("rpcinfo -p ({server})"), &format!("rpcinfo -p {server}"));
        let mut lines: Vec<_> = printed.lines().map(program).collect();
        lines.sort();
        lines
    });
    let only = |these: &[String], others: &[String]| -> Vec<String> {
        these.iter().filter(|line| !others.contains(line)).cloned().collect()
    };
    assert_eq!(only(&ours, &theirs), MORE, "what the appliance serves and knfsd's host does not");
    assert_eq!(only(&theirs, &ours), NOT_YET, "what knfsd's host serves and the appliance does not");
}

/// Program, version, transport, the port if it is a known one, and name.
fn program(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [program, version, transport, _, name] if !KNOWN_PORTS.contains(&program) => {
            format!("{program} {version} {transport} {name}")
        }
        _ => words.join(" "),
    }
}

/// The lines in order, and the clients in each: knfsd lists them as its tables have them.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            let (path, clients) = line.rsplit_once(' ').unwrap_or(("", line));
            let mut clients: Vec<&str> = clients.split(',').collect();
            clients.sort_unstable();
            format!("{path} {}", clients.join(","))
        })
        .collect();
    lines.sort_unstable();
    lines
}

/// What needs no comparison.
pub fn answers(world: &World) {
    world.check(
        "rpcinfo",
        r#"
        for prog in "nfs 3" "mountd 1" "mountd 3" "portmapper 2" "portmapper 3" "portmapper 4" \
            "nlockmgr 1" "nlockmgr 3" "nlockmgr 4" "status 1" "rquotad 1" "rquotad 2"; do
            rpcinfo -t 10.0.0.1 $prog | grep -q "ready and waiting"
            rpcinfo -u 10.0.0.1 $prog | grep -q "ready and waiting"
        done
        fails "not available" rpcinfo -t 10.0.0.1 nfs 4
        rpcinfo 10.0.0.1 | grep -q "100003 *3 *tcp *0.0.0.0.8.1 *nfs *superuser"
        "#,
    );
    world.check(
        "the list of mounts",
        r#"
        mount -t nfs -o vers=3,nolock 10.0.0.1:/pub /mnt
        is "$(showmount --no-headers -a 10.0.0.1)" "10.0.0.2:/pub"
        umount.nfs /mnt
        # Linux's mountd may show for another second what it has read before.
        is "$(showmount --no-headers -a 10.0.0.1)" ""
        "#,
    );
}
