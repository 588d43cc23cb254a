use super::*;
use crate::testing::{pool, system};

fn names(tree: &Tmpfs, path: &[u8]) -> Vec<String> {
    let Ok(Node::Directory(directory)) = tree.find(path) else { panic!("a directory") };
    let mut list = Vec::new();
    directory.read(0, |_, _, _, name| {
        list.push(String::from_utf8(name.to_vec()).unwrap());
        true
    });
    list
}

#[test]
fn names_come_and_go() {
    let (system, ..) = system();
    let (tree, maker) = (Tmpfs::default(), Maker { uid: 5, gid: 6, permissions: 0o640 });
    let node = tree.create(&system, b"/a", maker).unwrap();
    assert_eq!(tree.create(&system, b"/a", maker).err(), Some(Errno::EEXIST));
    assert_eq!(node.stat().mode, 0o100640);
    assert_eq!((node.stat().uid, node.stat().links), (5, 1));
    tree.link(b"/a", b"/b").unwrap();
    assert_eq!(node.stat().links, 2);
    tree.make_directory(&system, b"/d", maker).unwrap();
    tree.symlink(b"../a", b"/d/link").unwrap();
    assert!(matches!(tree.find(b"/d/link"), Ok(Node::Link(link)) if link.target == b"../a"));
    assert_eq!(names(&tree, b"/"), ["a", "b", "d"]);
    assert_eq!(tree.find(b"/").unwrap().stat().links, 3);
    assert_eq!(tree.find(b"/a/x").err(), Some(Errno::ENOTDIR));
    assert_eq!(tree.remove_directory(b"/d"), Err(Errno::ENOTEMPTY));
    assert_eq!(tree.unlink(b"/d"), Err(Errno::EISDIR));
    tree.unlink(b"/d/link").unwrap();
    tree.remove_directory(b"/d").unwrap();
    tree.unlink(b"/a").unwrap();
    tree.unlink(b"/b").unwrap();
    assert_eq!(tree.unlink(b"/b"), Err(Errno::ENOENT));
    assert_eq!(node.stat().links, 0);
    assert_eq!(tree.unlink(b"/"), Err(Errno::EISDIR));
    assert_eq!(names(&tree, b"/"), [""; 0]);
}

#[test]
fn a_file_lives_as_long_as_it_is_open() {
    let (system, ..) = system();
    let (tree, maker) = (Tmpfs::default(), Maker::default());
    let Node::File(content, _) = tree.create(&system, b"/a", maker).unwrap() else { panic!("a file") };
    content.object().set_size(10);
    content.object().write(0, b"0123456789", 0).unwrap();
    tree.unlink(b"/a").unwrap();
    assert_eq!(pool().used(), 4096);
    let mut bytes = [0; 4];
    content.object().read(3, &mut bytes).unwrap();
    assert_eq!(&bytes, b"3456");
    drop(content);
    assert_eq!(pool().used(), 0);
}

#[test]
fn renames() {
    let (system, ..) = system();
    let (tree, maker) = (Tmpfs::default(), Maker::default());
    for path in [&b"/d"[..], b"/e", b"/d/in"] {
        tree.make_directory(&system, path, maker).unwrap();
    }
    let a = tree.create(&system, b"/a", maker).unwrap();
    let b = tree.create(&system, b"/b", maker).unwrap();
    assert_eq!(tree.rename(b"/a", b"/b", NOREPLACE), Err(Errno::EEXIST));
    tree.rename(b"/a", b"/b", EXCHANGE).unwrap();
    assert_eq!(tree.find(b"/a").unwrap().stat().inode, b.stat().inode);
    tree.rename(b"/a", b"/b", 0).unwrap();
    assert_eq!((a.stat().links, b.stat().links), (0, 1));
    assert_eq!(tree.rename(b"/d", b"/d/in/x", 0), Err(Errno::EINVAL));
    assert_eq!(tree.rename(b"/e", b"/d", 0), Err(Errno::ENOTEMPTY));
    assert_eq!(tree.rename(b"/b", b"/e", 0), Err(Errno::EISDIR));
    assert_eq!(tree.rename(b"/d", b"/b", 0), Err(Errno::ENOTDIR));
    tree.rename(b"/d", b"/e", 0).unwrap();
    tree.rename(b"/b", b"/e/in/b", 0).unwrap();
    assert_eq!(names(&tree, b"/e/in"), ["b"]);
    assert_eq!(tree.rename(b"/missing", b"/x", 0), Err(Errno::ENOENT));
}

#[test]
fn places_stay_while_names_change() {
    let (system, ..) = system();
    let (tree, maker) = (Tmpfs::default(), Maker::default());
    for number in 0..10 {
        tree.create(&system, format!("/{number}").as_bytes(), maker).unwrap();
    }
    let Ok(Node::Directory(root)) = tree.find(b"/") else { panic!("the root") };
    let (mut at, mut seen) = (0, Vec::new());
    loop {
        let before = seen.len();
        root.read(at, |next, _, _, name| {
            at = next;
            seen.push(name.to_vec());
            seen.len() % 3 != 0
        });
        if seen.len() == before {
            break;
        }
        let _ = tree.unlink(&[&b"/"[..], &seen[before]].concat());
    }
    assert_eq!(seen.len(), 10);
}

#[test]
fn names_take_no_more_than_there_is_for_them() {
    let (system, ..) = system();
    let (tree, maker) = (Tmpfs::of(4 * NODE_BYTES + 100), Maker::default());
    assert_eq!(tree.inodes(), (4, 4));
    let all = tree.budget.left();
    tree.create(&system, b"/a", maker).unwrap();
    tree.make_directory(&system, b"/d", maker).unwrap();
    tree.link(b"/a", b"/d/b").unwrap();
    assert_eq!(tree.inodes(), (4, 1));
    let left = tree.budget.left();
    assert_eq!(tree.symlink(&[b'x'; 100], b"/c"), Err(Errno::ENOSPC));
    assert_eq!(tree.budget.left(), left);
    tree.symlink(b"to", b"/c").unwrap();
    for made in [
        tree.create(&system, b"/e", maker).map(drop),
        tree.make_directory(&system, b"/e", maker),
        tree.link(b"/a", b"/e"),
        tree.symlink(b"to", b"/e"),
    ] {
        assert_eq!(made, Err(Errno::ENOSPC));
    }
    assert_eq!(tree.find(b"/a").unwrap().stat().links, 2);
    let left = tree.budget.left();
    tree.rename(b"/a", b"/f", 0).unwrap();
    assert_eq!(tree.budget.left(), left);
    tree.rename(b"/f", b"/longer", 0).unwrap();
    assert_eq!(tree.budget.left(), left - 10);
    assert_eq!(tree.rename(b"/longer", &[&b"/"[..], &[b'x'; 100]].concat(), 0), Err(Errno::ENOSPC));
    tree.rename(b"/longer", b"/c", EXCHANGE).unwrap();
    assert_eq!(tree.budget.left(), left - 10);
    tree.rename(b"/longer", b"/c", 0).unwrap();
    assert_eq!(tree.find(b"/d/b").unwrap().stat().links, 1);
    tree.unlink(b"/c").unwrap();
    tree.unlink(b"/d/b").unwrap();
    tree.make_directory(&system, b"/e", maker).unwrap();
    tree.rename(b"/e", b"/d", 0).unwrap();
    tree.remove_directory(b"/d").unwrap();
    assert_eq!(tree.budget.left(), all);
}
