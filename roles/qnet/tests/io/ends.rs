//! Clients that are gone, and limits (R11, R22).

use crate::node::Lab;
use crate::world::{delayed, root};
use keelson_qnet::api::KernelConfig;
use keelson_qnet::client::{File, OpenFlags};
use keelson_qnet::io::IoConfig;
use keelson_qnet::sessions::memory::NetworkSettings;
use keelson_qnet_wire::Errno;
use std::rc::Rc;
use std::time::Duration;

/// R11: a client with open files and a blocked read.
#[test]
fn a_killed_client() {
    for crash in [false, true] {
        let lab = Lab::with(delayed(11), KernelConfig::default(), IoConfig::default());
        let files = lab.files(0, &root());
        let client = lab.world.spawn(async move {
            let mut kept: Vec<File> = Vec::new();
            for number in 0..20 {
                kept.push(files.create(&format!("/net/beta/{number}"), 0o644).await.unwrap());
            }
            let console = files.open("/net/beta/dev/con", OpenFlags::READ).await.unwrap();
            let _ = console.read(&mut [0; 10]).await;
            panic!("nobody types");
        });
        lab.world.settle();
        let server = &lab.nodes[1];
        assert_eq!((server.dispatcher.open_files(), lab.world.kernel(1).transactions()), (21, 1));
        if crash {
            lab.world.crash(0);
        }
        client.abort();
        lab.world.pass(Duration::from_secs(10));
        assert_eq!((server.dispatcher.open_files(), lab.world.kernel(1).transactions()), (0, 0));
        assert_eq!(lab.world.kernel(1).server_connections(), 0);
        if !crash {
            lab.assert_baseline();
        }
    }
}

/// R22: many clients that open, and are killed at any moment.
#[test]
fn many_clients() {
    let settings = NetworkSettings { window: 64, ..delayed(22) };
    let lab = Lab::with(settings, KernelConfig::default(), IoConfig::default());
    lab.run(|files| async move {
        for number in 0..8 {
            files.create(&format!("/net/beta/{number}"), 0o644).await.unwrap();
        }
    });
    let mut random = 22_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random >> 33
    };
    let opened = Rc::new(std::cell::Cell::new(0));
    for _ in 0..4 {
        let clients: Vec<_> = (0..16)
            .map(|client| {
                let (files, opened) = (lab.files(client % 2 * 2, &root()), opened.clone());
                lab.world.spawn(async move {
                    let mut kept = Vec::new();
                    for round in 0..200_usize {
                        let path = format!("/net/beta/{}", (client + round) % 8);
                        match files.open(&path, OpenFlags::READ).await {
                            Ok(file) => kept.push(file),
                            Err(errno) => assert_eq!(errno, Errno::EAGAIN, "a full table"),
                        }
                        opened.set(opened.get() + 1);
                        if kept.len() > 3 {
                            kept.remove(0).close().await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            lab.world.pass(Duration::from_millis(next() % 40));
            client.abort();
        }
        lab.world.pass(Duration::from_secs(6));
        lab.assert_baseline();
    }
    assert!(opened.get() > 1000, "{}", opened.get());
}

#[test]
fn tables_are_bounded() {
    let io = IoConfig { open_files: 5, open_files_per_connection: 3 };
    let lab = Lab::with(NetworkSettings::default(), KernelConfig::default(), io);
    lab.run(|files| async move {
        let mut kept = Vec::new();
        for _ in 0..5 {
            kept.push(files.open("/net/beta/dev/null", OpenFlags::READ).await.unwrap());
        }
        assert_eq!(files.open("/net/beta/dev/null", OpenFlags::READ).await.err(), Some(Errno::ENFILE));
        kept.pop().unwrap().close().await.unwrap();
        files.open("/net/beta/dev/null", OpenFlags::READ).await.unwrap();
        // Another descriptor of a connection is another open file.
        let connection = kept[0].connection();
        assert_eq!(files.stat("/net/beta/dev/null").await.unwrap().mode, 0x2000 | 0o666, "needs no place");
        assert!(connection.is_alive());
    });
    lab.world.settle();
    assert!(lab.nodes[1].dispatcher.counters().refused > 0);
    lab.assert_baseline();
}

/// A server that ends: clients get what section 18 says.
#[test]
fn a_server_that_ends() {
    let lab = Lab::new();
    let files = lab.files(0, &root());
    let file = lab.world.run({
        let files = files.clone();
        async move { files.open("/net/beta/dev/zero", OpenFlags::READ).await.unwrap() }
    });
    lab.nodes[1].stop();
    lab.world.settle();
    lab.world.run(async move {
        assert_eq!(file.read(&mut [0; 4]).await, Err(Errno::EBADF));
        assert_eq!(files.stat("/net/beta/etc").await, Err(Errno::ESRCH));
        assert_eq!(files.stat("/net/gamma/etc").await.unwrap().mode, 0x4000 | 0o555);
    });
}
