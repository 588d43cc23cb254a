//! Nodes that die: R7, R8, R9, R11, R22.

use super::{OFTEN, listed, pattern, read, until, write};
use keelson_qnet_wire::Errno;
use keelson_tests::qnet::{OpenFlags, Peer, Site, console, counter};
use keelson_tests::world::{SOON, assert_sound};
use std::time::{Duration, Instant};

/// Until a node that does not answer is given up, of which someone waits (7 s), and time for a busy host.
const GIVEN_UP: Duration = Duration::from_secs(7 + 8);

/// R7: the node dies while it is read from.
#[test]
fn a_reader_is_told_that_its_node_died() {
    let site = Site::new("qnet-dies");
    let machine = site.node_with_disk("beta", &format!("hostname=beta qnet.options={OFTEN}"));
    let peer = Peer::start(&site.lan.port("alpha").unwrap(), "alpha", OFTEN).unwrap();
    peer.run(async |user| write(&user, "/net/beta/file", &pattern(1 << 20)).await).unwrap();
    let reading = peer.begin(async |user| {
        let file = user.files().open("/net/beta/file", OpenFlags::READ).await.unwrap();
        let mut room = vec![0; 1 << 20];
        let mut reads = 0;
        loop {
            match file.read_at(0, &mut room).await {
                Ok(_) => reads += 1,
                Err(errno) => {
                    // And from now on that descriptor means nothing.
                    return (reads, errno, Instant::now(), file.read_at(0, &mut room).await.unwrap_err());
                }
            }
        }
    });
    std::thread::sleep(Duration::from_secs(1));
    let killed = Instant::now();
    machine.kill();
    let (reads, errno, told, later) = reading.wait(SOON).unwrap();
    assert!(reads > 0);
    assert_eq!((errno, later), (Errno::ESRCH, Errno::EBADF));
    assert!(told.saturating_duration_since(killed) < GIVEN_UP, "{:?}", told - killed);
    assert_eq!(listed(&peer), ["alpha"]);
    let open = peer.run(async |user| read(&user, "/net/beta/file").await).unwrap_err();
    assert!(open == Errno::EHOSTDOWN || open == Errno::ENOENT, "{open}");
    site.assert_well_formed();
}

/// R8: nobody waits for it; the heartbeat finds out, if there is a session. If not, its name stays until someone looks.
#[test]
fn idle_nodes_that_die() {
    let site = Site::new("qnet-idle");
    let machine = site.node("beta", &format!("hostname=beta qnet.options={OFTEN}"));
    let [knows, talks] = ["knows", "talks"]
        .map(|name| Peer::start(&site.lan.port(name).unwrap(), name, "auto_add=5,conn_up_idle=10").unwrap());
    until("beta is listed", SOON, || {
        [&knows, &talks].iter().all(|peer| listed(peer).contains(&"beta".into()))
    });
    let (done, held) = std::sync::mpsc::channel::<()>();
    let holding = talks.begin(async move |user| {
        let file = user.files().open("/net/beta/etc/TIMEZONE", OpenFlags::READ).await.unwrap();
        while held.try_recv().is_err() {
            user.handle.sleep(Duration::from_millis(100)).await;
        }
        drop(file);
    });
    std::thread::sleep(Duration::from_secs(1));
    machine.kill();
    // conn_up_idle is two seconds here.
    until("the heartbeat finds out", Duration::from_secs(2) + GIVEN_UP, || {
        !listed(&talks).contains(&"beta".into())
    });
    assert!(listed(&knows).contains(&"beta".into()), "without a session the entry stays");
    let verified = knows.run(async |user| user.files().stat("/net/beta").await.map(drop)).unwrap_err();
    assert_eq!(verified, Errno::EHOSTDOWN);
    assert!(!listed(&knows).contains(&"beta".into()));
    done.send(()).unwrap();
    holding.wait(SOON).unwrap();
    site.assert_well_formed();
}

/// R9: it is back at once, and remembers nothing.
#[test]
fn a_node_that_restarts_is_another_one() {
    let site = Site::new("qnet-restarts");
    let machine = site.node_with_disk("beta", &format!("hostname=beta qnet.options={OFTEN}"));
    let peer = Peer::start(&site.lan.port("alpha").unwrap(), "alpha", OFTEN).unwrap();
    peer.run(async |user| write(&user, "/net/beta/file", b"before").await).unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let old = peer.begin(async move |user| {
        let file = user.files().open("/net/beta/file", OpenFlags::READ).await.unwrap();
        let mut room = [0; 6];
        file.read_at(0, &mut room).await.unwrap();
        ready.send(()).unwrap();
        while may_go.try_recv().is_err() {
            user.handle.sleep(Duration::from_millis(10)).await;
        }
        file.read_at(0, &mut room).await
    });
    is_ready.recv_timeout(SOON).unwrap();
    // The file has to be on the disk, not in a cache that dies.
    assert_eq!(console(&machine, "sync /file"), [""; 0]);
    let before = machine.console().lines().len();
    machine.reset().unwrap();
    until("it is back", SOON, || {
        machine.console().lines().iter().skip(before).any(|line| line.text.contains("qnet: mounted"))
    });
    go.send(()).unwrap();
    let errno = old.wait(SOON).unwrap().unwrap_err();
    assert!(errno == Errno::ESRCH || errno == Errno::EBADF, "{errno}");
    assert_eq!(peer.run(async |user| read(&user, "/net/beta/file").await).unwrap(), b"before");
    until("nothing is left of the old clients", SOON, || counter(&machine, "kif net_server") == 0);
    assert_sound(&machine);
}

/// R11 and R22: clients die with files open and in the middle of reads, again and again.
#[test]
fn dead_clients_leave_nothing() {
    let site = Site::new("qnet-clients");
    let machine = site.node_with_disk("beta", &format!("hostname=beta qnet.options={OFTEN}"));
    let lasting = Peer::start(&site.lan.port("lasting").unwrap(), "lasting", OFTEN).unwrap();
    lasting.run(async |user| write(&user, "/net/beta/file", &pattern(100_000)).await).unwrap();
    // The same ports, and so the same addresses, each time: nodes that were power-cycled.
    let ports: Vec<_> = (0..16).map(|number| site.lan.port(&format!("client{number}")).unwrap()).collect();
    for _ in 0..3 {
        let start = |port: &keelson_qemu::Port| Peer::start(port, port.name(), OFTEN).unwrap();
        let clients: Vec<Peer> = ports.iter().map(start).collect();
        let busy: Vec<_> = clients
            .iter()
            .map(|client| {
                client.begin(async |user| {
                    let files = user.files();
                    let mut open = Vec::new();
                    for time in 0..60 {
                        let file = files.open("/net/beta/file", OpenFlags::READ).await.unwrap();
                        file.read_at(time * 1000, &mut [0; 5000]).await.unwrap();
                        open.push(file);
                        // A node may have 64, and all nodes 256.
                        if open.len() > 8 {
                            open.remove(time as usize % 8).close().await.unwrap();
                        }
                    }
                    // Somebody reads what never comes.
                    let console = files.open("/net/beta/dev/con", OpenFlags::READ).await.ok();
                    if let Some(console) = console {
                        let _ = console.read(&mut [0; 10]).await;
                    }
                    std::future::pending::<()>().await;
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(4));
        drop(busy);
        // Without a word.
        drop(clients);
    }
    until("everything of theirs is closed", Duration::from_secs(60), || {
        counter(&machine, "kif net_server") == 0
    });
    assert_eq!(counter(&machine, "io open_files"), 0);
    assert_eq!(counter(&machine, "l4 buffers"), 0);
    assert_eq!(lasting.run(async |user| read(&user, "/net/beta/file").await).unwrap(), pattern(100_000));
    assert_sound(&machine);
}
