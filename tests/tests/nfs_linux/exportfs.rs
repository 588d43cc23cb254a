//! `exportfs` on the appliance's console and on a Linux server with the same exports.

use keelson_qemu::LinuxGuest;
use keelson_tests::world::shell;

use super::{LONG, World};

/// Exported for a while, on both: options, and a client with a directory.
const MORE: [(&str, &str); 7] = [
    ("rw,async,insecure,no_root_squash", "10.8.0.0/16:/pub"),
    ("rw,all_squash,anonuid=1000,anongid=1001", "*.example.org:/pub"),
    ("all_squash,no_root_squash", "10.8.8.8:/pub"),
    ("sec=sys:none,anonuid=5", "@staff:/squash"),
    ("rw,fsid=7,nordirplus", "[fd00::/16]:/pub/below"),
    ("fsid=root", "[fd00::1]:/a"),
    ("rw,no_subtree_check,wdelay,hide", "*:/a/long/directory"),
];

/// What looks otherwise here, and why. Each entry must: options, and a client with a directory.
const OTHERWISE: [(&str, &str, &str); 8] = [
    ("no_wdelay", "10.7.7.7:/other", "writes are committed together whatever is said"),
    ("nohide", "10.7.7.7:/other", "there are no file systems mounted below an export"),
    ("crossmnt", "10.7.7.7:/other", "for the same reason"),
    ("subtree_check", "10.7.7.7:/other", "handles carry no path, so nothing is checked"),
    ("insecure_locks", "10.7.7.7:/other", "who locks is checked as who reads and writes"),
    ("no_acl", "10.7.7.7:/other", "there are no access control lists"),
    ("sec=none", "10.7.7.7:/other", "clients with an identity are served, too, and keep it"),
    ("ro", "10.6.0.0/255.255.0.0:/other", "a network is listed with its prefix, however it was written"),
];

/// Every way to list exports, of those of the test and of [`MORE`].
pub fn compare(world: &World, reference: &LinuxGuest) {
    let same = |when: &str| {
        for command in ["exportfs", "exportfs -v", "exportfs -s"] {
            let [ours, theirs] = both(world, reference, command);
            assert_eq!(ours, theirs, "{command} {when}: the appliance's, and Linux's");
        }
    };
    same("at first");
    for (options, what) in MORE {
        quiet(world, reference, &format!("exportfs -o {options} {what}"));
    }
    same("with more exports");
    for (options, what, reason) in OTHERWISE {
        quiet(world, reference, &format!("exportfs -o {options} {what}"));
        let [ours, theirs] = both(world, reference, "exportfs -v");
        assert_ne!(ours, theirs, "{options} {what} has become the same, although {reason}");
        quiet(world, reference, &format!("exportfs -u {what}"));
    }
    for (_, what) in MORE {
        quiet(world, reference, &format!("exportfs -u {what}"));
    }
    same("without them");
    quiet(world, reference, "exportfs -r");
    same("read anew");
}

/// A command that has nothing to say.
fn quiet(world: &World, reference: &LinuxGuest, command: &str) {
    on_console(world, command, &[]);
    reference.ok(command, LONG).unwrap();
}

/// Types a command that prints these lines.
pub fn on_console(world: &World, command: &str, printed: &[&str]) {
    assert_eq!(printed_by(world, command), printed, "{command}");
}

fn printed_by(world: &World, command: &str) -> Vec<String> {
    // Records of the log come in between.
    shell(&world.server, command).into_iter().filter(|line| !line.starts_with('[')).collect()
}

/// The entries that both list, each with its second line if it has one, in order.
fn both(world: &World, reference: &LinuxGuest, command: &str) -> [Vec<String>; 2] {
    let theirs = reference.ok(command, LONG).unwrap();
    [printed_by(world, command).join("\n"), theirs].map(|text| {
        let mut entries = Vec::<String>::new();
        for line in text.lines() {
            match entries.last_mut() {
                Some(entry) if line.starts_with('\t') => *entry += &format!("\n{line}"),
                _ => entries.push(line.into()),
            }
        }
        entries.sort_unstable();
        entries
    })
}
