//! libnfs's tools from Debian, an NFS client that is not Linux's, through QEMU's user networking.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keelson_qemu::{Bench, Drive, Exit, Ext4Spec, Nic, NicModel, Rng};
use keelson_tests::Appliance;

const START: Duration = Duration::from_secs(60);

/// The appliance as libnfs sees it: two forwarded ports.
struct Server {
    nfs: SocketAddr,
    mount: SocketAddr,
}

impl Server {
    /// The URL of `path`, which begins with a slash.
    ///
    /// What libnfs mounts is the part before the last slash. A file in the root directory needs two slashes: with
    /// one, libnfs 4 mounts an empty path, and although the server takes that for `/` (as Linux's mountd does),
    /// libnfs then gives up by itself because "Export is empty" (lib/nfs_v3.c; the tools print `mount_cb: (null)`).
    fn url(&self, path: &str) -> String {
        let (nfs, mount) = (self.nfs.port(), self.mount.port());
        format!("nfs://127.0.0.1{path}?version=3&nfsport={nfs}&mountport={mount}")
    }

    /// Runs a tool; its status, output and errors.
    fn run(&self, tool: &str, arguments: &[&str]) -> (bool, Vec<u8>, String) {
        // A tool that waits for ever fails the test too.
        let output = Command::new("timeout").arg("60").arg(tool).args(arguments).output().unwrap();
        (output.status.success(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs a tool that must succeed.
    #[track_caller]
    fn ok(&self, tool: &str, arguments: &[&str]) -> Vec<u8> {
        let (success, output, errors) = self.run(tool, arguments);
        assert!(success, "{tool} {arguments:?}: {}{errors}", String::from_utf8_lossy(&output));
        output
    }
}

#[test]
fn libnfs_tools_list_copy_and_read() {
    let bench = Bench::new("nfs-libnfs");
    let tree = bench.dir().join("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::write(tree.join("hello"), "hello, world\n").unwrap();
    fs::write(tree.join("deep/er/file"), "down here\n").unwrap();
    let disk = bench.ext4("data", &Ext4Spec::new(64 << 20).populated_from(&tree)).unwrap();
    let nic = Nic::user(NicModel::Virtio).forward_tcp(2049).forward_tcp(20048);
    // Calls come from ports of QEMU, which are not below 1024, as libnfs's would not be without root.
    let line = "ip=dhcp nfs.exports=\"/ *(rw,insecure,no_root_squash)\"";
    let spec = Appliance::nfs(&bench, "nfs", line).nic(nic).drive(Drive::file(disk.path()));
    let appliance = spec.start().unwrap();
    appliance.expect("serving NFS", START).unwrap();
    let server = Server {
        nfs: appliance.forwarded_tcp(2049).unwrap(),
        mount: appliance.forwarded_tcp(20048).unwrap(),
    };

    reads(&server);
    copies(&server, bench.dir());
    mistakes(&server);

    appliance.console().send_line("poweroff").unwrap();
    assert_eq!(appliance.wait(START).unwrap(), Exit::PowerOff);
    disk.check().unwrap();
    for i in 0..COPIES {
        assert!(disk.read(&format!("/deep/copy{i}")).unwrap() == contents(i), "copy {i} on the disk");
    }
}

const COPIES: u64 = 12;

/// Contents of copy `i`: lengths around those of blocks and transfers.
fn contents(i: u64) -> Vec<u8> {
    let lengths = [0, 1, 4095, 4096, 4097, 65536, 100_000, 1 << 20, (1 << 20) + 1, 3_000_000, 5 << 20, 7];
    let mut rng = Rng::new(i);
    let words = (0..lengths[i as usize] / 8 + 1).flat_map(|_| rng.next_u64().to_le_bytes());
    words.take(lengths[i as usize]).collect()
}

fn reads(server: &Server) {
    let listing = String::from_utf8(server.ok("nfs-ls", &[&server.url("/")])).unwrap();
    let line = |name: &str| listing.lines().find(|line| line.ends_with(name)).unwrap_or_default();
    assert!(line("hello").starts_with("-rw-r--r--") && line("hello").contains(" 13 "), "{listing}");
    assert!(line("deep").starts_with("drwxr-xr-x"), "{listing}");
    let all = String::from_utf8(server.ok("nfs-ls", &["-R", &server.url("/")])).unwrap();
    assert!(all.lines().any(|line| line.ends_with("file") && line.contains(" 10 ")), "{all}");

    assert_eq!(server.ok("nfs-cat", &[&server.url("//hello")]), b"hello, world\n");
    assert_eq!(server.ok("nfs-cat", &[&server.url("/deep/er/file")]), b"down here\n");
}

fn copies(server: &Server, scratch: &Path) {
    for i in 0..COPIES {
        let (local, back) = (scratch.join("local"), scratch.join("back"));
        fs::write(&local, contents(i)).unwrap();
        let url = server.url(&format!("/deep/copy{i}"));
        server.ok("nfs-cp", &[local.to_str().unwrap(), &url]);
        assert!(server.ok("nfs-cat", &[&url]) == contents(i), "copy {i} by nfs-cat");
        // nfs-cp does not overwrite local files.
        let _ = fs::remove_file(&back);
        server.ok("nfs-cp", &[&url, back.to_str().unwrap()]);
        assert!(fs::read(&back).unwrap() == contents(i), "copy {i} by nfs-cp");
    }
    let listing = String::from_utf8(server.ok("nfs-ls", &[&server.url("/deep")])).unwrap();
    assert_eq!(listing.lines().filter(|line| line.contains("copy")).count() as u64, COPIES, "{listing}");
}

fn mistakes(server: &Server) {
    for path in ["//none", "/deep/none", "/none/none"] {
        let (success, output, errors) = server.run("nfs-cat", &[&server.url(path)]);
        assert!(!success && output.is_empty(), "{path}: {errors}");
        assert!(errors.contains("NFS3ERR_NOENT") || errors.contains("MNT3ERR_"), "{path}: {errors}");
    }
    // Nothing of that did harm.
    assert_eq!(server.ok("nfs-cat", &[&server.url("//hello")]), b"hello, world\n");
}
