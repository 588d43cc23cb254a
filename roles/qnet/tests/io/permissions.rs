//! Who may do what: bits of files, `maproot` and `mapany` (R16).

use crate::node::Lab;
use crate::world::{root, user};
use keelson_qnet::api::{CredentialRules, KernelConfig};
use keelson_qnet::client::OpenFlags;
use keelson_qnet::io::IoConfig;
use keelson_qnet::sessions::memory::NetworkSettings;
use keelson_qnet_wire::Errno;

#[test]
fn bits_of_files_and_directories() {
    let lab = Lab::new();
    lab.run(|files| async move {
        files.mkdir("/net/beta/open", 0o777).await.unwrap();
        files.mkdir("/net/beta/sticky", 0o1777).await.unwrap();
        files.mkdir("/net/beta/shut", 0o700).await.unwrap();
        files.create("/net/beta/shut/x", 0o666).await.unwrap();
        files.create("/net/beta/open/secret", 0o600).await.unwrap();
        files.create("/net/beta/sticky/roots", 0o666).await.unwrap();
        files.chmod("/net/beta", 0o755).await.unwrap();
    });
    let (one, two) = (lab.files(0, &user(100)), lab.files(2, &user(101)));
    lab.world.run(async move {
        assert_eq!(one.stat("/net/beta/shut/x").await, Err(Errno::EACCES));
        assert_eq!(one.open("/net/beta/open/secret", OpenFlags::READ).await.err(), Some(Errno::EACCES));
        assert_eq!(one.stat("/net/beta/open/secret").await.unwrap().mode, 0x8000 | 0o600);
        assert_eq!(one.create("/net/beta/new", 0o644).await.err(), Some(Errno::EACCES));
        assert_eq!(one.mkdir("/net/beta/new", 0o755).await, Err(Errno::EACCES));
        one.create("/net/beta/open/mine", 0o640).await.unwrap().write_all(b"1").await.unwrap();
        let stat = one.stat("/net/beta/open/mine").await.unwrap();
        assert_eq!((stat.uid, stat.gid, stat.mode), (100, 100, 0x8000 | 0o640));
        assert_eq!(two.open("/net/beta/open/mine", OpenFlags::READ).await.err(), Some(Errno::EACCES));
        assert_eq!(two.chmod("/net/beta/open/mine", 0o666).await, Err(Errno::EPERM));
        assert_eq!(one.chown("/net/beta/open/mine", Some(101), None).await, Err(Errno::EPERM));
        assert_eq!(one.chown("/net/beta/open/mine", None, Some(0)).await, Err(Errno::EPERM));
        assert_eq!(two.utime("/net/beta/open/mine", None).await, Err(Errno::EACCES));
        assert_eq!(two.utime("/net/beta/open/mine", Some((1, 1))).await, Err(Errno::EPERM));
        one.chmod("/net/beta/open/mine", 0o6755).await.unwrap();
        let writer = one.open("/net/beta/open/mine", OpenFlags::WRITE).await.unwrap();
        writer.write_all(b"2").await.unwrap();
        assert_eq!(one.stat("/net/beta/open/mine").await.unwrap().mode, 0x8000 | 0o755, "no set-id bits");
        // Anybody may rename here, but not where the sticky bit is.
        two.rename("/net/beta/open/mine", "/net/beta/open/yours").await.unwrap();
        assert_eq!(two.unlink("/net/beta/sticky/roots").await, Err(Errno::EPERM));
        let moved = two.rename("/net/beta/open/yours", "/net/beta/sticky/roots").await;
        assert_eq!(moved, Err(Errno::EPERM), "nor replace");
        two.unlink("/net/beta/open/yours").await.unwrap();
    });
}

fn mapped(rules: CredentialRules) -> Lab {
    let config = KernelConfig { credentials: rules, ..KernelConfig::default() };
    Lab::with(NetworkSettings::default(), config, IoConfig::default())
}

/// R16.
#[test]
fn mapped_users() {
    for rules in [
        CredentialRules { maproot: Some(100), mapany: Some(100), ..CredentialRules::default() },
        CredentialRules { maproot: Some(100), ..CredentialRules::default() },
    ] {
        let lab = mapped(rules);
        // Local users are who they are.
        let there = lab.files(1, &root());
        lab.world.run(async move {
            there.mkdir("/public", 0o777).await.unwrap();
            there.create("/secret", 0o600).await.unwrap().write_all(b"x").await.unwrap();
        });
        lab.run(|files| async move {
            for flags in [OpenFlags::READ, OpenFlags::WRITE] {
                assert_eq!(files.open("/net/beta/secret", flags).await.err(), Some(Errno::EACCES));
            }
            assert_eq!(files.unlink("/net/beta/secret").await, Err(Errno::EACCES));
            assert_eq!(files.chmod("/net/beta/secret", 0o666).await, Err(Errno::EPERM));
            files.create("/net/beta/public/new", 0o600).await.unwrap();
            let stat = files.stat("/net/beta/public/new").await.unwrap();
            assert_eq!((stat.uid, stat.gid), (100, 100));
        });
    }
    let lab = mapped(CredentialRules { mapany: Some(100), ..CredentialRules::default() });
    lab.run(|files| async move { files.mkdir("/net/beta/public", 0o777).await }).unwrap_err();
    let there = lab.files(1, &root());
    lab.world.run(async move { there.mkdir("/public", 0o777).await }).unwrap();
    let other = lab.files(0, &user(77));
    lab.world.run(async move {
        other.create("/net/beta/public/new", 0o600).await.unwrap();
        assert_eq!(other.stat("/net/beta/public/new").await.unwrap().uid, 100);
    });
}
