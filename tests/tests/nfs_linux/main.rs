//! An unmodified Linux client mounts the appliance and does what people do: NFS version 3 over TCP.

mod exportfs;
mod files;
mod messages;
mod tools;

use std::time::{Duration, Instant};

use keelson_qemu::{Bench, Cache, Drive, Exit, Ext4Image, Ext4Spec, Lan, LinuxGuest, LinuxSpec, Machine};
use keelson_tests::Appliance;
use keelson_tests::guest::program;

/// For whatever takes seconds on a quiet host.
const LONG: Duration = Duration::from_secs(300);
/// From the start of the appliance, or from the word `poweroff`, to its end.
const START: Duration = Duration::from_secs(60);

/// Shell functions of all scripts: `is GOT WANTED`, `fails TEXT COMMAND...` (the error must contain TEXT), `says` (the same, and
/// shows the error).
const PRELUDE: &str = r#"
set -eu
is() { [ "$1" = "$2" ] || { echo "got '$1', wanted '$2'" >&2; exit 1; }; }
fails() {
    text=$1; shift
    if "$@" > /tmp/out 2>&1; then echo "worked, but should not: $*" >&2; exit 1; fi
    grep -q "$text" /tmp/out || { echo "no '$text' in the error of $*: $(cat /tmp/out)" >&2; exit 1; }
}
says() { fails "$@"; cat /tmp/out; }
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

/// Path, and who may do what there.
const EXPORTS: [(&str, &str); 4] = [
    ("/", "10.0.0.2(rw,no_root_squash)"),
    ("/squash", "10.0.0.0/24(rw)"),
    ("/pub", "*(ro)"),
    ("/other", "10.9.9.8(rw) 10.9.9.9(rw)"),
];

/// [`EXPORTS`] as lines of Linux's `/etc/exports`, or as the appliance's option.
fn exports(separator: &str) -> String {
    EXPORTS.map(|(path, clients)| format!("{path} {clients}")).join(separator)
}

#[test]
fn a_linux_client_lives_on_the_appliance() {
    let bench = Bench::new("nfs-linux");
    let lan = bench.lan("lan").unwrap();
    let tree = bench.dir().join("tree");
    for folder in ["squash", "pub/below", "other", "a/long/directory"] {
        std::fs::create_dir_all(tree.join(folder)).unwrap();
    }
    std::fs::write(tree.join("pub/hello"), "hello, world\n").unwrap();
    let disk = bench.ext4("data", &Ext4Spec::new(512 << 20).populated_from(&tree)).unwrap();
    let server = start(&bench, &lan, "nfs", "10.0.0.1", &exports("; "), &disk);
    let spec = LinuxSpec::new("client")
        .memory_mib(768)
        .file(&program(env!("CARGO_TARGET_TMPDIR"), "probe"), "/usr/bin/probe");
    let client = LinuxGuest::boot(&bench, spec.on(&lan, "10.0.0.2/24")).unwrap();
    server.expect("serving NFS", START).unwrap();
    // The program that says UMNT to the server; the guest's umount does without.
    client.ok("ln -s mount.nfs /usr/sbin/umount.nfs", LONG).unwrap();
    let world = World { client, server, lan, bench };

    tools::compare_with_knfsd(&world, &tree);
    tools::answers(&world);
    world.check(
        "mount",
        "mount -t nfs -o vers=3,proto=tcp,nolock 10.0.0.1:/ /mnt; mkdir /mnt/w; cd /mnt/w; df /mnt",
    );
    files::names(&world);
    files::files(&world);
    files::objects_and_attributes(&world);
    files::permissions(&world);
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
