//! Nodes that die: R7, R8, R9, R11, R22.

use super::{OFTEN, listed, pattern, read, until, write};
use keelson_qemu::{Drive, Machine, Rng};
use keelson_qnet_wire::Errno;
use keelson_tests::qnet::{OpenFlags, Peer, Site, User, console, console_until, counter, started};
use keelson_tests::soak;
use keelson_tests::world::{SOON, assert_sound};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
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
    nothing_is_left(&machine);
    assert_eq!(lasting.run(async |user| read(&user, "/net/beta/file").await).unwrap(), pattern(100_000));
    assert_sound(&machine);
}

/// What dead clients had is given back, at the latest when their nodes are known to be dead.
fn nothing_is_left(machine: &Machine) {
    until("everything of theirs is closed", Duration::from_secs(60), || {
        counter(machine, "kif net_server") == 0
    });
    assert_eq!(counter(machine, "io open_files"), 0);
    assert_eq!(counter(machine, "l4 buffers"), 0);
}

/// R22 with its numbers: 64 clients on 16 nodes, 1,000 opens each, while nodes lose power at random.
#[test]
#[ignore = "long: make soak"]
fn sixty_four_clients_with_a_thousand_opens_each() {
    const NODES: usize = 16;
    const CLIENTS: usize = 4;
    const OPENS: usize = 1000;
    if soak::time().is_none() {
        return;
    }
    let site = Site::new("qnet-clients-long");
    let disk = site.disk("beta");
    let spec = site.spec("beta", &format!("hostname=beta qnet.options={OFTEN}"));
    let machine = started(spec.drive(Drive::file(disk.path())));
    let lasting = Peer::start(&site.lan.port("lasting").unwrap(), "lasting", OFTEN).unwrap();
    lasting.run(async |user| write(&user, "/net/beta/file", &pattern(100_000)).await).unwrap();
    let ports: Vec<_> = (0..NODES).map(|number| site.lan.port(&format!("node{number}")).unwrap()).collect();
    ports.iter().for_each(|port| port.capture(keelson_qemu::Capture::Off));
    // Opens that each client has to do: they survive its node.
    let left: Vec<Arc<AtomicUsize>> =
        (0..NODES * CLIENTS).map(|_| Arc::new(AtomicUsize::new(OPENS))).collect();
    let start = |node: usize| {
        let peer = Peer::start(&ports[node], ports[node].name(), OFTEN).unwrap();
        for left in &left[node * CLIENTS..][..CLIENTS] {
            let left = left.clone();
            drop(peer.begin(async move |user| open_and_read(&user, &left).await));
        }
        peer
    };
    let (begin, mut random, mut kills) = (Instant::now(), Rng::new(soak::seed(22)), 0);
    let mut peers: Vec<Peer> = (0..NODES).map(start).collect();
    let is_left = || left.iter().any(|left| left.load(Relaxed) > 0);
    while is_left() {
        std::thread::sleep(Duration::from_millis(200 + random.next_u64() % 2000));
        let victim = random.next_u64() as usize % NODES;
        // Without a word; and there it is again.
        drop(peers.swap_remove(victim));
        let last = peers.len();
        peers.push(start(victim));
        peers.swap(victim, last);
        kills += 1;
        let open: usize = left.iter().map(|left| left.load(Relaxed)).sum();
        assert!(begin.elapsed() < Duration::from_secs(3600), "{open} opens are left");
    }
    println!("{} opens, {kills} kills in {:?}", NODES * CLIENTS * OPENS, begin.elapsed());
    drop(peers);
    nothing_is_left(&machine);
    assert_eq!(lasting.run(async |user| read(&user, "/net/beta/file").await).unwrap(), pattern(100_000));
    assert_sound(&machine);
}

/// Opens and reads a file until nothing is `left`, with a few open at a time: all clients together may have 256.
async fn open_and_read(user: &User, left: &AtomicUsize) {
    let files = user.files();
    let mut open = Vec::new();
    while left.load(Relaxed) > 0 {
        let file = files.open("/net/beta/file", OpenFlags::READ).await;
        let Ok(file) = file else {
            // What the node had in its last life may take up its places for a moment.
            user.handle.sleep(Duration::from_millis(50)).await;
            continue;
        };
        let time = left.fetch_sub(1, Relaxed);
        file.read_at(time as u64 * 97, &mut [0; 500]).await.unwrap();
        open.push(file);
        if open.len() > 2 {
            open.remove(time % 3).close().await.unwrap();
        }
    }
}

/// Its adapter is another one when it comes back: whoever it talked with takes it for itself at once, not when the last
/// doubt about its former life is gone.
#[test]
fn a_node_comes_back_with_another_adapter() {
    let site = Site::new("qnet-adapter");
    // Alpha takes its silence for nothing bad for a hundred seconds.
    let alpha = site.node("alpha", &format!("hostname=alpha qnet.options={OFTEN},conn_up_idle=500"));
    let beta = format!("hostname=beta qnet.options={OFTEN}");
    let before = site.node("first", &beta);
    assert_eq!(console(&before, "cat /net/alpha/etc/TIMEZONE"), ["UTC0"]);
    assert_eq!(console(&alpha, "cat /net/beta/etc/TIMEZONE"), ["UTC0"]);
    before.kill();
    let after = site.node("second", &beta);
    console_until(&after, "cat /net/alpha/etc/TIMEZONE", |text| text == ["UTC0"]);
    assert_eq!(console(&alpha, "cat /net/beta/etc/TIMEZONE"), ["UTC0"]);
    assert_eq!(counter(&alpha, "lr claims_won"), 1);
    assert_sound(&alpha);
    site.assert_well_formed();
}
