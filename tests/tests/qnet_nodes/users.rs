//! Users of other nodes: R16, R12, R23.

use super::{OFTEN, read, write};
use keelson_qnet_wire::Errno;
use keelson_tests::qnet::{OpenFlags, Peer, Site, console};
use keelson_tests::world::assert_sound;

/// R16: root of another node is not root here.
#[test]
fn root_is_mapped() {
    let site = Site::new("qnet-maproot");
    for option in ["maproot=100", "mapany=100"] {
        let machine = site.node_with_disk("beta", &format!("hostname=beta qnet.options={OFTEN},{option}"));
        let peer = Peer::start(&site.lan.port("alpha").unwrap(), "alpha", OFTEN).unwrap();
        console(&machine, "echo secret > /secret");
        console(&machine, "chmod 600 /secret");
        console(&machine, "mkdir /open");
        console(&machine, "chmod 777 /open");
        assert_eq!(
            peer.run(async |user| read(&user, "/net/beta/secret").await),
            Err(Errno::EACCES),
            "{option}"
        );
        assert_eq!(peer.run(async |user| write(&user, "/net/beta/secret", b"x").await), Err(Errno::EACCES));
        peer.run(async |user| write(&user, "/net/beta/open/new", b"x").await).unwrap();
        let stat = peer.run(async |user| user.files().stat("/net/beta/open/new").await).unwrap();
        assert_eq!((stat.uid, stat.gid), (100, 100), "{option}");
        // Others become somebody else only with mapany.
        let of_other = peer.run(async |user| {
            let files = user.files_of(7, 8);
            files.create("/net/beta/open/other", 0o644).await?.close().await?;
            files.stat("/net/beta/open/other").await
        });
        let of_other = of_other.unwrap();
        let expected = if option == "mapany=100" { (100, 100) } else { (7, 8) };
        assert_eq!((of_other.uid, of_other.gid), expected, "{option}");
        machine.kill();
    }
}

/// A disk keeps what others wrote, owners and modes included, when the node is switched off.
#[test]
fn files_survive_a_restart() {
    let site = Site::new("qnet-disk");
    let machine = site.node_with_disk("beta", &format!("hostname=beta qnet.options={OFTEN}"));
    let peer = Peer::start(&site.lan.port("alpha").unwrap(), "alpha", OFTEN).unwrap();
    peer.run(async |user| {
        let files = user.files();
        files.mkdir("/net/beta/dir", 0o755).await?;
        write(&user, "/net/beta/dir/file", b"kept").await?;
        files.rename("/net/beta/dir/file", "/net/beta/dir/renamed").await
    })
    .unwrap();
    assert_sound(&machine);
    machine.console().send_line("poweroff").unwrap();
    machine.wait(keelson_tests::world::SOON).unwrap();
    let machine = machine.restart().unwrap();
    machine.expect("qnet: mounted", keelson_tests::world::SOON).unwrap();
    assert_eq!(console(&machine, "cat /dir/renamed; echo"), ["kept"]);
    let kept = peer.run(async |user| {
        let file = user.files().open("/net/beta/dir/renamed", OpenFlags::READ).await?;
        let mut room = [0; 8];
        let len = file.read(&mut room).await?;
        Ok::<_, Errno>(room[..len].to_vec())
    });
    assert_eq!(kept.unwrap(), b"kept");
}
