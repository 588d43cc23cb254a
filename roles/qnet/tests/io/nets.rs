//! `/net`, `/dev/netmgr`, `/dev/name`: the way to other channels.

use crate::node::Lab;
use crate::world::{root, user};
use keelson_qnet::api::{NameScope, Received};
use keelson_qnet::client::{Files, OpenFlags};
use keelson_qnet::io::Server;
use keelson_qnet_wire::io::IoMsg;
use keelson_qnet_wire::netmgr::{MGRID, NdToStrFlags, NetmgrRequest, StrToNdReply};
use keelson_qnet_wire::{Endian, Errno, Nd};

async fn entries(files: &Files, path: &str) -> Vec<(String, u64)> {
    files.read_dir(path).await.unwrap().into_iter().map(|item| (item.name, item.ino)).collect()
}

#[test]
fn listing() {
    let lab = Lab::new();
    lab.run(|files| async move {
        let expected = [("alpha".into(), 0), ("beta".into(), 1), ("gamma".into(), 2)];
        assert_eq!(entries(&files, "/net").await, expected);
        let stat = files.stat("/net").await.unwrap();
        assert_eq!(stat.mode, 0x4000 | 0o555);
        // As another node sees it.
        let expected = [("beta".into(), 0), ("gamma".into(), 1), ("alpha".into(), 2)];
        assert_eq!(entries(&files, "/net/beta/net").await, expected);
        assert!(files.read_dir("/net/beta").await.unwrap().iter().any(|item| item.name == "proc"));
        assert_eq!(files.read_dir("/net/nobody").await, Err(Errno::ENOENT));
        assert_eq!(
            files.read_to_end("/net/beta/proc/qnetstats", 99).await.unwrap(),
            b"**** running on beta\n"
        );
        let own = files.read_to_end("/net/alpha/proc/qnetstats", 99).await.unwrap();
        assert_eq!(own, b"**** running on alpha\n", "the node's own name leads back to it");
    });
    lab.world.settle();
    lab.assert_baseline();
}

#[test]
fn the_name_space_belongs_to_qnet() {
    let lab = Lab::new();
    let directory = lab.nodes[0].directory.clone();
    lab.run(|files| async move {
        assert_eq!(files.mkdir("/net/x", 0o755).await, Err(Errno::EROFS));
        assert_eq!(files.symlink("beta", "/net/x").await, Err(Errno::EROFS));
        assert_eq!(files.unlink("/net/beta").await, Err(Errno::EISDIR));
        assert_eq!(files.rename("/net/beta", "/net/x").await, Err(Errno::EXDEV));
        // Cleaning with a wildcard: the own name stays.
        let clean = async |name| files.rmdir(name).await;
        assert_eq!(clean("/net/alpha").await, Err(Errno::EBUSY));
        assert_eq!((clean("/net/beta").await, clean("/net/gamma").await), (Ok(()), Ok(())));
        assert_eq!(entries(&files, "/net").await, [("alpha".into(), 0)]);
        // Talking to a node enters it again.
        assert_eq!(files.stat("/net/beta/etc").await.unwrap().mode, 0x4000 | 0o555);
        assert_eq!(entries(&files, "/net").await.len(), 2);
        assert_eq!(files.stat("/net/beta").await.unwrap().ino, 1);
        directory.down.borrow_mut().insert(1);
        assert_eq!(files.stat("/net/beta").await, Err(Errno::EHOSTDOWN));
        assert_eq!(entries(&files, "/net").await, [("alpha".into(), 0)]);
    });
}

/// Without a node directory: by link replies of this node's manager, and of another's.
#[test]
fn link_replies_are_followed() {
    let lab = Lab::new();
    let files = Files::new(&lab.world.kernel(0), &root(), None);
    lab.world.run(async move {
        for (path, name) in [
            ("/net/beta/proc/qnetstats", "beta"),
            ("/net/beta/net/gamma/proc/qnetstats", "gamma"),
            ("/net/beta/net/alpha/proc/qnetstats", "alpha"),
            ("/net/gamma/net/gamma/net/beta/proc/qnetstats", "beta"),
        ] {
            let text = files.read_to_end(path, 99).await.unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), format!("**** running on {name}\n"), "{path}");
        }
        let far = "/net/beta/net/alpha".repeat(12);
        assert_eq!(files.stat(&format!("{far}/etc")).await, Err(Errno::ELOOP));
        files.symlink("/net/gamma/etc", "/net/beta/there").await.unwrap();
        assert_eq!(files.read_to_end("/net/beta/there/TIMEZONE", 99).await.unwrap(), b"UTC0\n");
    });
    lab.world.settle();
    lab.assert_baseline();
}

/// Sends what QNX's C library sends: paths below `/net` to this node's own process manager.
mod by_the_manager {
    use super::*;
    use keelson_qnet_wire::io::{ConnectReply, ConnectSubtype, Extra, FileType, IoConnect, IoRequest, Stat};

    struct Asked {
        lab: Lab,
    }

    impl Asked {
        fn ask(&self, from: usize, to: usize, connect: &IoConnect<'_>) -> Result<(u32, Vec<u8>), Errno> {
            let mut message = vec![0; 2048];
            let len = connect.emit(&mut message, Endian::Little).unwrap();
            message.truncate(len);
            let (kernel, nd) = (self.lab.world.kernel(from), self.lab.world.nd(to, from));
            self.lab.world.run(async move {
                let mut reply = vec![0; 2584];
                let sent = kernel.connect_and_send((nd, 1, 1), &root(), &[&message], &mut reply).await;
                let (_, status, len) = sent?;
                reply.truncate(len);
                Ok((status as u32, reply))
            })
        }

        fn redirection(&self, from: usize, to: usize, path: &str) -> (Server, String) {
            let (status, data) = self.ask(from, to, &open(path)).unwrap();
            let Ok(ConnectReply::Link { link, .. }) = ConnectReply::decode(status, &data, Endian::Little)
            else {
                panic!("{status:#x} is no link reply");
            };
            let [entry] = link.entries().collect::<Vec<_>>()[..] else { panic!("one server") };
            let rest = &link.path[usize::from(entry.prefix_len)..];
            let (pid, chid) = (entry.pid as u32, entry.chid as u32);
            (
                Server { nd: entry.nd, pid, chid, handle: entry.handle },
                String::from_utf8(rest.into()).unwrap(),
            )
        }
    }

    fn open(path: &str) -> IoConnect<'_> {
        IoConnect {
            subtype: ConnectSubtype::OPEN,
            file_type: FileType::ANY,
            reply_max: IoConnect::REPLY_MAX,
            entry_max: IoConnect::ENTRY_MAX,
            key: 0,
            handle: IoConnect::REMOTE_ROOT,
            ioflag: 1,
            mode: 0,
            sflag: IoConnect::SH_DENYNO,
            access: 3,
            eflag: 0,
            path: path.as_bytes(),
            extra: Extra::None,
        }
    }

    fn asked() -> Asked {
        Asked { lab: Lab::new() }
    }

    #[test]
    fn redirections() {
        let asked = asked();
        let server = |nd| Server { nd: Nd(nd), pid: 1, chid: 1, handle: 1 };
        assert_eq!(asked.redirection(0, 0, "net/beta/etc/TIMEZONE"), (server(1), "etc/TIMEZONE".into()));
        assert_eq!(asked.redirection(0, 0, "/net/gamma"), (server(2), "".into()));
        // Another node's numbers are translated (section 11.2): itself, the client, a third.
        assert_eq!(asked.redirection(0, 1, "net/beta/x"), (server(1), "x".into()));
        assert_eq!(asked.redirection(0, 1, "net/alpha/x"), (server(0), "x".into()));
        assert_eq!(asked.redirection(0, 1, "net/gamma/x"), (server(2), "x".into()));
    }

    #[test]
    fn refusals() {
        let asked = asked();
        let ask = |connect: IoConnect<'_>| asked.ask(0, 1, &connect).err();
        assert_eq!(ask(IoConnect { handle: 0, ..open("etc") }), Some(Errno::EL2HLT));
        assert_eq!(ask(IoConnect { handle: 77, ..open("etc") }), Some(Errno::ENOENT));
        assert_eq!(ask(IoConnect { entry_max: 0, ..open("etc") }), Some(Errno::ELOOP));
        assert_eq!(ask(IoConnect { file_type: FileType::MQUEUE, ..open("etc") }), Some(Errno::ENOSYS));
        let mount = ConnectSubtype::MOUNT;
        assert_eq!(ask(IoConnect { subtype: mount, ..open("etc") }), Some(Errno::ENOSYS));
        let make = IoConnect { subtype: ConnectSubtype::MKNOD, mode: 0x4000, ..open("net/x") };
        assert_eq!(ask(make), Some(Errno::EROFS));
        assert_eq!(ask(IoConnect { ioflag: 2 | 0o400, ..open("net/x") }), Some(Errno::EROFS));
        let link = IoConnect { subtype: ConnectSubtype::LINK, extra: Extra::Symlink(b"y"), ..open("net/x") };
        assert_eq!(ask(link), Some(Errno::EROFS));
        let remove = |name| IoConnect { subtype: ConnectSubtype::UNLINK, mode: 0x4000, ..open(name) };
        assert_eq!(ask(remove("net/beta")), Some(Errno::EBUSY));
        assert_eq!(ask(remove("net/gamma")), None);
        assert_eq!(ask(remove("net/gamma")), Some(Errno::ENOENT));
        // Dots do not lead out of the root.
        assert_eq!(ask(open("../../etc/../../etc/TIMEZONE")), None);
    }

    /// `ls -l /net`.
    #[test]
    fn stale_entries() {
        let asked = asked();
        let mut request = [0; 8];
        IoRequest::Stat.emit(&mut request, Endian::Little).unwrap();
        let stat = |path| IoConnect {
            subtype: ConnectSubtype::COMBINE_CLOSE,
            ioflag: 0,
            extra: Extra::Message(&request),
            ..open(path)
        };
        let (status, data) = asked.ask(0, 0, &stat("net/gamma")).unwrap();
        let found = Stat::decode(&data, Endian::Little).unwrap();
        assert_eq!((status, found.ino, found.mode), (0, 2, 0x4000 | 0o555));
        let directory = &asked.lab.nodes[0].directory;
        directory.down.borrow_mut().insert(2);
        assert_eq!(asked.ask(0, 0, &stat("net/gamma")).err(), Some(Errno::EHOSTDOWN));
        assert!(!directory.known.borrow().contains(&2));
    }
}

#[test]
fn netmgr_messages() {
    let lab = Lab::new();
    let directory = lab.nodes[0].directory.clone();
    lab.run(|files| async move {
        let file = files.open("/dev/netmgr", OpenFlags::READ_WRITE).await.unwrap();
        let ask = async |request: NetmgrRequest<'_>| {
            let mut message = [0; 256];
            let len = request.emit(&mut message, Endian::Little).unwrap();
            let mut reply = [0; 256];
            let (status, len) = file.connection().send(&[&message[..len]], &mut reply).await?;
            Ok((status, reply[..len].to_vec()))
        };
        let to_nd = async |name: &str| {
            let (_, data) = ask(NetmgrRequest::StrToNd { name: name.as_bytes() }).await?;
            let reply = StrToNdReply::decode(&data, Endian::Little).unwrap();
            Ok::<_, Errno>((reply.nd, reply.len))
        };
        assert_eq!(to_nd("/net/beta/etc/x").await, Ok((Nd(1), 9)));
        assert_eq!(to_nd("gamma~preferred:en0").await, Ok((Nd(2), 19)));
        assert_eq!(to_nd("alpha").await, Ok((Nd::LOCAL, 5)));
        assert_eq!(to_nd("nobody").await, Err(Errno::ENOENT));
        assert_eq!(to_nd("a~fast").await, Err(Errno::EINVAL));
        let to_text = async |nd, flags| {
            let request = NetmgrRequest::NdToStr { len: 64, flags: NdToStrFlags(flags), nd };
            let (status, data) = ask(request).await?;
            assert_eq!((status as usize, data.last()), (data.len(), Some(&0)));
            Ok::<_, Errno>(String::from_utf8(data[..data.len() - 1].to_vec()).unwrap())
        };
        let (dir, no_dir, no_name, no_domain) = (1, 2, 0x20, 0x80);
        assert_eq!(to_text(Nd::LOCAL, dir | no_name).await.unwrap(), "/net/", "how pidin finds it");
        assert_eq!(to_text(Nd(1), 0).await.unwrap(), "/net/beta.other.test");
        assert_eq!(to_text(Nd(1), dir | no_domain).await.unwrap(), "/net/beta/");
        assert_eq!(to_text(Nd(1), no_dir | no_domain).await.unwrap(), "beta");
        assert_eq!(to_text(Nd::LOCAL, no_dir).await.unwrap(), "alpha");
        assert_eq!(to_text(Nd(9), 0).await, Err(Errno::ENOENT));
        let short = NetmgrRequest::NdToStr { len: 3, flags: NdToStrFlags(0), nd: Nd(1) };
        assert_eq!(ask(short).await, Err(Errno::ERANGE));
        let remote = async |remote, local| {
            let request = NetmgrRequest::RemoteNd { remote_nd: Nd(remote), local_nd: Nd(local) };
            ask(request).await.map(|(status, _)| status)
        };
        assert_eq!(remote(0, 2).await, Ok(2));
        assert_eq!(remote(2, 2).await, Ok(0));
        assert_eq!(remote(1, 2).await, Ok(1), "gamma is beta's number 1");
        assert_eq!(remote(1, 0).await, Ok(2));
        assert_eq!(ask(NetmgrRequest::Ctl { nd: Nd(1), op: 0 }).await, Err(Errno::ENOSYS));
        assert_eq!(ask(NetmgrRequest::QosFlush).await, Ok((0, vec![])));
        assert_eq!(file.message(IoMsg { mgrid: MGRID, subtype: 77 }, &[], 0).await, Err(Errno::ENOSYS));
        assert_eq!(file.message(IoMsg { mgrid: 1, subtype: 2 }, &[], 0).await, Err(Errno::ENOSYS));
    });
    assert_eq!(directory.flushes.get(), 1);
}

#[test]
fn services_are_found_by_name() {
    let lab = Lab::new();
    let kernel = lab.world.kernel(1);
    let service = kernel.name_attach(1, "lab/adder", NameScope::Local).unwrap();
    let task = lab.world.spawn(async move {
        loop {
            if let Received::Message(message) = service.receive().await {
                message.reply(42, b"sum");
            }
        }
    });
    lab.run(|files| async move {
        let names = |items: Vec<(String, u64)>| items.into_iter().map(|item| item.0).collect::<Vec<_>>();
        assert_eq!(names(entries(&files, "/net/beta/dev/name/local").await), ["lab"]);
        assert_eq!(names(entries(&files, "/net/beta/dev/name/local/lab").await), ["adder"]);
        let path = "/net/beta/dev/name/local/lab/adder";
        assert_eq!(files.stat(path).await.unwrap().mode & 0xf000, 0x2000);
        let service = files.open(path, OpenFlags::READ_WRITE).await.unwrap();
        assert_ne!(service.server().chid, 1);
        let mut reply = [0; 8];
        assert_eq!(service.connection().send(&[&[0, 2]], &mut reply).await, Ok((42, 3)));
        let other = files.open("/net/beta/dev/name/local/other", OpenFlags::READ).await;
        assert_eq!(other.err(), Some(Errno::ENOENT));
        assert_eq!(files.stat("/dev/name/local/lab").await, Err(Errno::ENOENT), "only there");
    });
    task.abort();
    lab.world.settle();
    lab.assert_baseline();
}

#[test]
fn prefixes_are_listed() {
    let lab = Lab::new();
    lab.run(|files| async move {
        let names = async |path: &str| {
            files.read_dir(path).await.unwrap().into_iter().map(|item| item.name).collect::<Vec<_>>()
        };
        assert_eq!(names("/proc/mount").await, ["0,1,1,1,0", "0,1,1,2,0", "dev", "net", "proc"]);
        assert_eq!(names("/proc/mount/net").await, ["0,1,1,9,0"]);
        assert_eq!(files.stat("/proc/mount/net/0,1,1,9,0").await.unwrap().mode, 0x8000 | 0o444);
        assert_eq!(files.stat("/proc/mount/0,1,1,9,0").await, Err(Errno::ENOENT));
    });
}

#[test]
fn only_root_forgets_nodes() {
    let lab = Lab::new();
    let files = lab.files(0, &user(100));
    // By way of the other node's manager: here the client would resolve the name itself.
    let result = lab.world.run(async move { files.rmdir("/net/beta/net/gamma").await });
    assert_eq!(result, Err(Errno::EACCES));
    assert!(lab.nodes[1].directory.known.borrow().contains(&2));
}
