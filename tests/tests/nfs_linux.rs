//! An unmodified Linux client mounts the appliance and does what people do: NFS version 3 over TCP.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keelson_qemu::{Bench, Cache, Drive, Exit, Ext4Image, Ext4Spec, Lan, LinuxGuest, LinuxSpec, Machine};
use keelson_tests::Appliance;

/// For whatever takes seconds on a quiet host.
const LONG: Duration = Duration::from_secs(300);
/// From the start of the appliance, or from the word `poweroff`, to its end.
const START: Duration = Duration::from_secs(60);

/// Shell functions of all scripts: `is GOT WANTED`, `fails TEXT COMMAND...` (the error must contain TEXT).
const PRELUDE: &str = r#"
set -eu
is() { [ "$1" = "$2" ] || { echo "got '$1', wanted '$2'" >&2; exit 1; }; }
fails() {
    text=$1; shift
    if "$@" > /tmp/out 2>&1; then echo "worked, but should not: $*" >&2; exit 1; fi
    grep -q "$text" /tmp/out || { echo "no '$text' in the error of $*: $(cat /tmp/out)" >&2; exit 1; }
}
sum() { (cd "$1" && find . | sort && find . -type f | sort | xargs sha256sum) | sha256sum; }
# A new mount has nothing cached.
remount() { cd /; umount /mnt; mount -t nfs -o vers=3,nolock 10.0.0.1:/ /mnt; }
mkdir -p /tmp/work
"#;

/// A client and a server on a switch.
struct World {
    client: LinuxGuest,
    server: Machine,
    lan: Lan,
    bench: Bench,
}

impl World {
    /// Runs a script that must succeed, and says how long it took.
    fn check(&self, what: &str, script: &str) -> String {
        let used = |machine: &Machine| machine.usage().unwrap().cpu.as_secs_f64();
        let before = (Instant::now(), used(&self.server), used(self.client.machine()));
        let output = self.client.run(&format!("{PRELUDE}{script}"), LONG).unwrap();
        assert_eq!(output.status, 0, "{what}: {}{}", output.stdout, output.stderr);
        eprintln!(
            "{:6.1} s (CPU of server {:5.1}, of client {:5.1})  {what}",
            before.0.elapsed().as_secs_f64(),
            used(&self.server) - before.1,
            used(self.client.machine()) - before.2,
        );
        output.stdout
    }

    fn start_another(&self, name: &str, address: &str, exports: &str, disk: &Ext4Image) -> Machine {
        start(&self.bench, &self.lan, name, address, exports, disk)
    }
}

/// Flushes of the disk are not carried out (`power_cut` is about them), so that tests do not wait for the host's.
fn start(bench: &Bench, lan: &Lan, name: &str, address: &str, exports: &str, disk: &Ext4Image) -> Machine {
    let options = format!("ip={address}/24:eth0 nfs.exports=\"{exports}\"");
    let spec = Appliance::nfs(bench, name, &options);
    spec.virtio_nic(lan).drive(Drive::file(disk.path()).cache(Cache::Unsafe)).start().unwrap()
}

fn power_off(machine: &Machine) {
    machine.console().send_line("poweroff").unwrap();
    assert_eq!(machine.wait(START).unwrap(), Exit::PowerOff);
}

/// Compiles the program that makes the system calls a shell can not.
fn probe() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/probe.rs");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-O", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", "-o"]);
    let status = rustc.arg(&program).arg(source).status().expect("rustc");
    assert!(status.success(), "guest/probe.rs does not compile");
    program
}

const EXPORTS: &str =
    "/ 10.0.0.2(rw,no_root_squash); /squash 10.0.0.0/24(rw); /pub *(ro); /other 10.9.9.9(rw)";

#[test]
fn a_linux_client_lives_on_the_appliance() {
    let bench = Bench::new("nfs-linux");
    let lan = bench.lan("lan").unwrap();
    let tree = bench.dir().join("tree");
    for folder in ["squash", "pub", "other"] {
        std::fs::create_dir_all(tree.join(folder)).unwrap();
    }
    std::fs::write(tree.join("pub/hello"), "hello, world\n").unwrap();
    let disk = bench.ext4("data", &Ext4Spec::new(512 << 20).populated_from(&tree)).unwrap();
    let server = start(&bench, &lan, "nfs", "10.0.0.1", EXPORTS, &disk);
    let spec = LinuxSpec::new("client").memory_mib(768).file(&probe(), "/usr/bin/probe");
    let client = LinuxGuest::boot(&bench, spec.on(&lan, "10.0.0.2/24")).unwrap();
    server.expect("serving NFS", START).unwrap();
    // The program that says UMNT to the server; the guest's umount does without.
    client.ok("ln -s mount.nfs /usr/sbin/umount.nfs", LONG).unwrap();
    let world = World { client, server, lan, bench };

    tools(&world);
    world.check(
        "mount",
        "mount -t nfs -o vers=3,proto=tcp,nolock 10.0.0.1:/ /mnt; mkdir /mnt/w; cd /mnt/w; df /mnt",
    );
    names(&world);
    files(&world);
    objects_and_attributes(&world);
    permissions(&world);
    tree_in_and_out(&world);
    many_entries(&world);
    full_disk(&world);
    let world = server_restarts(world);

    let World { client, server, .. } = world;
    client.ok("cd /; kill $(pidof sleep); umount /mnt", LONG).unwrap();
    power_off(&server);
    disk.check().unwrap();
    assert_eq!(disk.read("/pub/hello").unwrap(), b"hello, world\n");
    assert_eq!(disk.read("/w/names/d2/moved").unwrap(), b"first\n");
    let data = disk.read("/w/kept").unwrap();
    assert_eq!(data.iter().filter(|&&byte| byte == b'\n').count(), 2000, "every line of the writer is there");
}

/// What administrators look with.
fn tools(world: &World) {
    let programs = world.check("rpcinfo -p", "rpcinfo -p 10.0.0.1");
    let mut lines: Vec<_> =
        programs.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    let mut wanted = vec!["program vers proto port service".to_string()];
    for transport in ["tcp", "udp"] {
        wanted.extend([2, 3, 4].map(|version| format!("100000 {version} {transport} 111 portmapper")));
        wanted.extend([1, 3].map(|version| format!("100005 {version} {transport} 20048 mountd")));
        wanted.push(format!("100003 3 {transport} 2049 nfs"));
    }
    wanted.sort();
    assert_eq!(lines, wanted, "the lines of knfsd's host for these programs, and no others");

    world.check(
        "rpcinfo, showmount",
        r#"
        for prog in "nfs 3" "mountd 1" "mountd 3" "portmapper 2" "portmapper 3" "portmapper 4"; do
            rpcinfo -t 10.0.0.1 $prog | grep -q "ready and waiting"
            rpcinfo -u 10.0.0.1 $prog | grep -q "ready and waiting"
        done
        fails "not available" rpcinfo -t 10.0.0.1 nfs 4
        rpcinfo 10.0.0.1 | grep -q "100003 *3 *tcp *0.0.0.0.8.1 *nfs *superuser"
        is "$(showmount --no-headers -e 10.0.0.1 | tr -s ' ' | sort | tr '\n' ';')" \
            "/ 10.0.0.2;/other 10.9.9.9;/pub *;/squash 10.0.0.0/24;"
        is "$(showmount -e 10.0.0.1 | head -1)" "Export list for 10.0.0.1:"
        is "$(showmount -a 10.0.0.1 | wc -l)" 1
        mount -t nfs -o vers=3,nolock 10.0.0.1:/pub /mnt
        is "$(showmount --no-headers -a 10.0.0.1)" "10.0.0.2:/pub"
        is "$(showmount --no-headers -d 10.0.0.1)" "/pub"
        umount.nfs /mnt
        is "$(showmount --no-headers -a 10.0.0.1)" ""
        "#,
    );
    world.check(
        "another address: refused mounts, a read-only export",
        r#"
        ip addr add 10.0.0.99/24 dev eth0; ip route add 10.0.0.1 dev eth0 src 10.0.0.99
        for path in / /other /nowhere; do
            fails "access denied by server" mount -t nfs -o vers=3,nolock 10.0.0.1:$path /mnt
        done
        mount -t nfs -o vers=3,nolock 10.0.0.1:/pub /mnt
        is "$(cat /mnt/hello)" "hello, world"
        fails "Read-only file system" touch /mnt/new
        # Opening asks ACCESS, which knows only that writing is not allowed.
        fails "ermission denied" sh -c 'echo > /mnt/hello'
        fails "Read-only file system" rm -f /mnt/hello
        fails "Read-only file system" mkdir /mnt/d
        fails "Read-only file system" chmod 777 /mnt/hello
        umount /mnt
        ip route del 10.0.0.1; ip addr del 10.0.0.99/24 dev eth0
        fails "No such file\|access denied" mount -t nfs -o vers=3,nolock 10.0.0.1:/nowhere /mnt
        "#,
    );
}

/// Renames, links, and names of every kind.
fn names(world: &World) {
    world.check(
        "rename",
        r#"
        mkdir -p /mnt/w/names/d1/deep /mnt/w/names/d2 && cd /mnt/w/names
        echo first > a; echo second > b
        inode=$(stat -c %i a)
        mv a c; [ ! -e a ]; is "$(cat c)" first
        mv c b; is "$(cat b)" first; is "$(stat -c %i b)" $inode; [ ! -e c ]
        mv b d1/deep/moved; mv d1/deep d2/shallow; [ ! -e d1/deep ]; is "$(cat d2/shallow/moved)" first
        is "$(stat -c %h d1 d2 | tr '\n' ' ')" "2 3 "
        mkdir empty; mv -T d1 empty; [ ! -e d1 ]; is "$(stat -c %h .)" 4
        echo x > empty/x; fails "not empty" mv -T d2 empty
        fails "irectory" mv -T empty/x d2
        mv d2/shallow/moved d2/moved; rmdir d2/shallow; rm -r empty
        is "$(find . | sort | tr '\n' ' ')" ". ./d2 ./d2/moved "
        "#,
    );
    world.check(
        "hard links, symbolic links",
        r#"
        mkdir /mnt/w/links; cd /mnt/w/links
        echo one > a; ln a b; ln b c
        is "$(stat -c '%h %i' a)" "3 $(stat -c %i c)"
        echo two >> c; is "$(cat a | tr '\n' ' ')" "one two "
        rm a; is "$(stat -c %h b)" 2; rm b; is "$(stat -c %h c)" 1; is "$(head -1 c)" one
        fails "exists" ln c c
        ln -s c s; is "$(readlink s)" c; is "$(head -1 s)" one; is "$(stat -c %s s)" 1
        long=$(printf '%01000d' 7); ln -s $long l; is "$(readlink l)" $long
        longest=$(printf '%04095d' 7); ln -s $longest m; is "$(readlink m)" $longest
        ln -s nowhere dangling; fails "No such file" cat dangling
        mkdir target; ln -s target way; echo in > way/file; is "$(cat target/file)" in
        ln -s loop loop; fails "ymbolic link" cat loop
        "#,
    );
    world.check(
        "odd and long names, deep directories",
        r#"
        mkdir /mnt/w/odd; cd /mnt/w/odd
        n255=$(printf '%0255d' 1); n256=$(printf '%0256d' 1)
        echo l > $n255; is "$(cat $n255)" l; fails "too long" touch $n256
        mkdir bytes; probe name bytes
        remount; cd /mnt/w/odd
        probe named bytes
        cd ..; rm -r odd; mkdir odd; cd odd
        d=; for i in $(seq 60); do d=${d}level$i/; done
        mkdir -p $d; echo bottom > ${d}file; is "$(cat ${d}file)" bottom
        is "$(find . -type d | wc -l)" 61; cd ..; rm -r odd
        "#,
    );
}

/// Contents.
fn files(world: &World) {
    world.check(
        "truncate, append, mmap, O_EXCL, unlinked files, times, holes",
        r#"
        mkdir /mnt/w/files; cd /mnt/w/files
        dd if=/dev/urandom of=/tmp/work/a bs=1000 count=300 2>/dev/null; cp /tmp/work/a a
        for size in 150000 4096 4095 1 0 5 70000; do
            truncate -s $size a /tmp/work/a; is "$(stat -c %s a)" $size; cmp a /tmp/work/a
        done
        echo overwrite > a; is "$(cat a)" overwrite
        { for i in $(seq 500); do echo "first writer $i"; done; } >> log &
        { for i in $(seq 500); do echo "other writer $i"; done; } >> log
        wait
        is "$(wc -l < log)" 1000; is "$(sort -u log | wc -l)" 1000; is "$(grep -c '^\(first\|other\) writer [0-9]*$' log)" 1000
        for probe in mmap exclusive unlinked times sparse; do
            probe $probe . || { echo "probe $probe failed" >&2; exit 1; }
        done
        remount; cd /mnt/w/files
        is "$(wc -l < log)" 1000; is "$(stat -c '%s %Y' sparse times | tr '\n' ' ' | cut -d' ' -f1,4)" "1610612736 2000000011"
        cd ..; rm -r files; [ ! -e files ]
        "#,
    );
}

/// Things that are neither files nor directories, and what is known about all of them.
fn objects_and_attributes(world: &World) {
    world.check(
        "devices, sockets, modes, owners",
        r#"
        mkdir /mnt/w/special; cd /mnt/w/special
        mkfifo p; { echo through > p & }; is "$(cat p)" through
        mknod n c 1 3; is "$(stat -c '%F %t %T' n)" "character special file 1 3"; echo gone > n
        mknod b b 259 1048575; is "$(stat -c '%F %t %T' b)" "block special file 103 fffff"
        touch f; chmod 4751 f; is "$(stat -c %a f)" 4751
        chown 1234:5678 f; is "$(stat -c '%u %g' f)" "1234 5678"
        chown 4000000000:4000000001 f; is "$(stat -c '%u %g' f)" "4000000000 4000000001"
        before=$(stat -c %Z f); sleep 1; chmod 600 f; [ $(stat -c %Z f) -gt $before ]
        touch -d '2001-02-03 04:05:06' f; is "$(date -u -r f +%s)" 981173106
        umask 027; mkdir m; touch m/x; is "$(stat -c %a m m/x | tr '\n' ' ')" "750 640 "
        cd ..; rm -r special
        "#,
    );
}

/// The same file system as other users see it.
fn permissions(world: &World) {
    world.check(
        "permissions of another user, root squashed",
        r#"
        as() { probe as "$@"; }
        mkdir /mnt/w/perm; cd /mnt/w/perm; chmod 755 . ..
        echo secret > secret; chmod 600 secret; echo open > open; chmod 644 open
        fails "ermission denied" as 1000 cat secret; is "$(as 1000 cat open)" open
        fails "ermission denied" as 1000 sh -c 'echo x >> open'
        fails "ermission denied" as 1000 touch new
        fails "not permitted" as 1000 chmod 666 open; fails "not permitted" as 1000 chown 1000 open
        mkdir home; chown 1000:1000 home; as 1000 touch home/mine; is "$(stat -c '%u %g' home/mine)" "1000 1000"
        fails "ermission denied" as 1001 rm -f home/mine; as 1000 rm home/mine
        chmod 1777 home; as 1001 touch home/theirs; fails "not permitted\|denied" as 1002 rm -f home/theirs; as 1001 rm home/theirs
        mkdir closed; echo x > closed/x; chmod 700 closed; fails "ermission denied" as 1000 cat closed/x
        fails "ermission denied" as 1000 ls closed
        mkdir group; chgrp 77 group; chmod 2775 group; touch group/f; is "$(stat -c %g group/f)" 77
        mkdir group/d; is "$(stat -c '%g %a' group/d)" "77 2755"
        cd ..; rm -r perm

        mkdir -p /s; mount -t nfs -o vers=3,nolock 10.0.0.1:/squash /s
        fails "ermission denied" touch /s/x
        chmod 777 /mnt/squash; touch /s/x; is "$(stat -c '%u %g' /s/x)" "65534 65534"
        fails "not permitted" chown 0 /s/x
        echo top > /mnt/squash/root; chmod 600 /mnt/squash/root; fails "ermission denied" cat /s/root
        as 1000 touch /s/user; is "$(stat -c '%u %g' /s/user)" "1000 1000"
        umount /s; rm /mnt/squash/*
        "#,
    );
}

fn tree_in_and_out(world: &World) {
    world.check(
        "make a tree of 2,000 files and 64 MiB",
        r#"
        probe tree /tmp/tree
        is "$(find /tmp/tree -type f | wc -l)" 2000; [ $(du -sm /tmp/tree | cut -f1) -ge 64 ]
        sum /tmp/tree > /tmp/work/sum
        "#,
    );
    world.check("copy it in", "cp -a /tmp/tree /mnt/w/tree; sync");
    world.check(
        "copy it out, remove it",
        r#"
        rm -r /tmp/tree; remount
        cp -a /mnt/w/tree /tmp/tree; is "$(sum /tmp/tree)" "$(cat /tmp/work/sum)"
        is "$(readlink /tmp/tree/dir7/link)" ../sub/f0
        rm -r /mnt/w/tree /tmp/tree; is "$(ls /mnt/w)" "$(printf 'links\nnames')"
        "#,
    );
}

fn many_entries(world: &World) {
    world.check(
        "create 10,000 entries",
        "mkdir /mnt/w/many; cd /mnt/w/many; for i in $(seq 10000); do : > file$i; done",
    );
    world.check(
        "list them: all, none twice",
        r#"
        remount; cd /mnt/w/many
        ls -a1 | sort > /tmp/work/list; is "$(grep -c file /tmp/work/list)" 10000; is "$(uniq -d /tmp/work/list)" ""
        is "$(ls -l | grep -c 'file[0-9]*$')" 10000
        "#,
    );
    world.check("rm -r them", "rm -r /mnt/w/many; [ ! -e /mnt/w/many ]");
}

fn full_disk(world: &World) {
    let disk = world.bench.ext4("small", &Ext4Spec::new(24 << 20)).unwrap();
    let server = world.start_another("small", "10.0.0.3", "/ *(rw,no_root_squash)", &disk);
    server.expect("serving NFS", START).unwrap();
    world.check(
        "fill a disk, delete, write again",
        r#"
        mkdir -p /s; mount -t nfs -o vers=3,nolock 10.0.0.3:/ /s; cd /s
        dd if=/dev/urandom of=/tmp/work/mb bs=1M count=1 2>/dev/null
        echo kept > before
        fails "No space left" sh -c 'for i in $(seq 30); do cp /tmp/work/mb full$i || exit 1; done'
        is "$(cat before)" kept
        [ $(ls | grep -c full) -ge 10 ]
        cmp full1 /tmp/work/mb; cmp full9 /tmp/work/mb
        fails "No space left" dd if=/dev/zero of=more bs=64k count=100 conv=fsync
        rm -f more full*
        [ $(df -m . | tail -1 | awk '{print $4}') -ge 10 ]
        for i in 1 2 3 4 5 6 7 8; do cp /tmp/work/mb again$i; done
        for i in 1 2 3 4 5 6 7 8; do cmp again$i /tmp/work/mb; done
        cd /; umount /s
        "#,
    );
    power_off(&server);
    disk.check().unwrap();
    assert_eq!(disk.read("/before").unwrap(), b"kept\n");
}

/// The client stays mounted while the server goes and comes back, first in an orderly way, then not.
fn server_restarts(world: World) -> World {
    let begun = world.check(
        "open files before the restart",
        "cd /mnt/w; echo old > old; mkdir -p dir/in; sleep 600 < old > /dev/null 2>&1 & stat -c %i /mnt/w/old",
    );
    let writer = world
        .client
        .spawn("cd /mnt/w/dir; for i in $(seq 2000); do echo \"line $i\"; done | while read l; do echo \"$l\" >> ../kept; done")
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    world.server.console().send_line("reboot").unwrap();
    world.server.expect("filesystem unmounted", START).unwrap();
    world.server.expect("serving NFS", START).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let World { client, server, lan, bench } = world;
    let server = server.restart().unwrap();
    server.expect("serving NFS", START).unwrap();
    let world = World { client, server, lan, bench };
    let written = writer.wait(LONG).unwrap();
    assert_eq!((written.status, written.stderr.as_str()), (0, ""), "the writer did not notice");
    let after = world.check(
        "everything goes on after a reboot and a power cut",
        r#"
        cd /mnt/w; is "$(cat old)" old; echo new >> dir/in/file; is "$(cat dir/in/file)" new
        seq 2000 | sed 's/^/line /' > /tmp/work/lines; cmp kept /tmp/work/lines
        stat -c %i old
        "#,
    );
    assert_eq!(begun, after, "the same inode under the same name");
    world
}
