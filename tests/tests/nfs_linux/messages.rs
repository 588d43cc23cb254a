//! What a client's programs say when something is wrong: the same words whoever serves (specification section 18).

use keelson_qemu::LinuxGuest;

use super::exportfs::on_console;
use super::tools::{KNFSD, OURS};
use super::{LONG, World};

/// Scripts that print the same for both servers. They call `mount.nfs` themselves: the guest's `mount` would ask the
/// kernel after it has failed.
pub const COMPARED: [(&str, &str); 5] = [
    (
        "mount from a port that anybody may use",
        r#"says "access denied by server" mount.nfs $S:/pub /mnt -o vers=3,nolock,noresvport"#,
    ),
    (
        "ports that nobody listens on",
        r#"
        says "Connection refused" rpcinfo -a $S.3.231 -T tcp 100005 3
        says "RPC: Unable to receive" rpcinfo -a $S.3.231 -T udp 100005 3
        options=vers=3,nolock,retry=0
        says "Connection refused" mount.nfs $S:/pub /mnt -o $options,mountproto=tcp,mountport=999
        says "not supported" mount.nfs $S:/pub /mnt -o $options,mountport=999
        says "not supported" mount.nfs $S:/pub /mnt -o $options,port=999
        "#,
    ),
    (
        "changes of a read-only export",
        r#"
        mount.nfs $S:/pub /mnt -o vers=3,nolock,rw
        cat /mnt/hello
        # Opening asks ACCESS, which knows only that writing is not allowed.
        says "ermission denied" sh -c 'echo > /mnt/hello'
        denied() { says "Read-only file system" "$@"; }
        denied touch /mnt/new
        denied rm -f /mnt/hello
        denied mkdir /mnt/d
        denied mv /mnt/hello /mnt/bye
        denied ln /mnt/hello /mnt/bye
        denied ln -s hello /mnt/bye
        denied mkfifo /mnt/fifo
        denied chmod 777 /mnt/hello
        denied touch /mnt/hello
        denied rmdir /mnt/below
        umount.nfs /mnt
        "#,
    ),
    (
        "files and directories that another client removed",
        r#"
        mkdir -p /a /b
        for place in /a /b; do
            mount.nfs $S:/ $place -o vers=3,nolock,nosharecache,actimeo=0
        done
        mkdir /a/gone; echo x > /a/gone/file; mkdir /a/gone/below
        (
            cd /a/gone; exec 5< file
            rm -r /b/gone
            stale() { says "Stale file handle" "$@"; }
            stale cat <&5
            stale ls -l .
            stale touch new
            stale mkdir below/new
            says "No such file" ls -l /a/gone/file
        )
        umount.nfs /a; umount.nfs /b
        "#,
    ),
    (
        "locks without the client's statd",
        r#"
        mv /usr/sbin/start-statd /tmp/start-statd
        says "rpc.statd is not running" mount.nfs $S:/ /mnt -o vers=3,retry=0
        mv /tmp/start-statd /usr/sbin/start-statd
        mount.nfs $S:/ /mnt -o vers=3
        # And all that tells where it was.
        kill -9 $(pidof rpc.statd) $(pidof rpcbind)
        echo x > /mnt/locked
        # The program of util-linux; the shell's own says nothing.
        says "No locks available" /usr/bin/flock -n /mnt/locked true
        rm /mnt/locked; umount.nfs /mnt
        "#,
    ),
];

/// What is mounted while the server stops to export it, and exports it again.
pub fn compare_removed_exports(world: &World, reference: &LinuxGuest) {
    let [ours, theirs] = [OURS, KNFSD].map(|server| {
        let check = |what: &str, script: &str| {
            let what = format!("an export that is removed: {what} ({server})");
            world.check(&what, &format!("S={server}\n{script}")).replace(server, "SERVER")
        };
        let exportfs = |words: &str| match server {
            OURS => on_console(world, &format!("exportfs {words}"), &[]),
            _ => drop(reference.ok(&format!("exportfs {words}"), LONG).unwrap()),
        };
        check(
            "before",
            "mkdir -p /a; mount.nfs $S:/ /a -o vers=3,nolock,actimeo=0; mkdir /a/d; echo x > /a/d/file",
        );
        exportfs("-u 10.0.0.2:/");
        let said = check(
            "removed",
            r#"
            stale() { says "Stale file handle" "$@"; }
            stale ls /a; stale cat /a/d/file; stale touch /a/new; stale mkdir /a/d/new
            says "access denied by server" mount.nfs $S:/ /mnt -o vers=3,nolock
            "#,
        );
        exportfs("-r");
        check("back", r#"is "$(cat /a/d/file)" x; rm -r /a/d; umount.nfs /a"#);
        said
    });
    assert_eq!(ours, theirs, "what the client says of the appliance, and of knfsd");
}
