//! Keys as ssh-keygen (OpenSSH 9.2) writes them. All were made for these tests.

use super::*;
use proptest::prelude::*;

const PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOgYpEPq2bvWLjoKAlLd7l1gLc+SJ/ijWrXxPWjm9xDj alice at work";
const FINGERPRINT: &str = "SHA256:5gnMRMa8X4/9Pk/IkHHhb1xzcE3GKOqpVvUSXQCq5Rs";
const PRIVATE: &str = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDoGKRD6tm71i46CgJS3e5dYC3Pkif4o1q18T1o5vcQ4wAAAJC9cfQZvXH0
GQAAAAtzc2gtZWQyNTUxOQAAACDoGKRD6tm71i46CgJS3e5dYC3Pkif4o1q18T1o5vcQ4w
AAAEAhaPrvsoRADjsQkPsWiS/fmeKuUl01pfgCnAKibvpOG+gYpEPq2bvWLjoKAlLd7l1g
Lc+SJ/ijWrXxPWjm9xDjAAAADWFsaWNlIGF0IHdvcms=";
/// The beginning of a file with a passphrase is enough to tell.
const ENCRYPTED: &str =
    "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABD0q1siventNgYwf28Bl8QMAAAAEAAAAAE=";

#[test]
fn public_keys() {
    let key = AuthorizedKey::parse(PUBLIC).unwrap();
    assert_eq!((key.name().as_str(), key.fingerprint().to_string().as_str()), ("alice at work", FINGERPRINT));
    let nameless = PUBLIC.split_once(" alice").unwrap().0;
    assert_eq!(AuthorizedKey::parse(nameless).unwrap().name(), FINGERPRINT);
}

#[test]
fn what_is_no_public_key() {
    let cut = &PUBLIC[..70];
    // A point that the curve does not have.
    let mut nowhere = [0_u8; KEY];
    nowhere[0] = 2;
    let nowhere = format!("{ED25519} {}", BASE64_NOPAD.encode(&blob(&nowhere)));
    for (line, error) in [
        ("", KeyError::Kind(String::new())),
        ("ssh-rsa AAAAB3NzaC1yc2E= bob", KeyError::Kind("ssh-rsa".into())),
        ("ssh-ed25519", KeyError::Missing),
        (cut, KeyError::Malformed),
        ("ssh-ed25519 AAAA", KeyError::Malformed),
        (nowhere.as_str(), KeyError::Malformed),
    ] {
        assert_eq!(AuthorizedKey::parse(line), Err(error), "{line}");
    }
}

#[test]
fn host_keys() {
    let whole =
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{PRIVATE}\n-----END OPENSSH PRIVATE KEY-----\n");
    for text in [PRIVATE, whole.as_str()] {
        let key = HostKey::parse(text).unwrap();
        assert_eq!(key.fingerprint().to_string(), FINGERPRINT);
        assert!(PUBLIC.starts_with(&key.public_line()), "{}", key.public_line());
    }
    let seed = HostKey::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let same = HostKey::from_seed(&core::array::from_fn(|at| at as u8));
    assert_eq!(seed.public_line(), same.public_line());
    assert_eq!(format!("{seed:?}"), format!("HostKey({})", same.fingerprint()), "nothing secret is shown");
}

#[test]
fn what_is_no_host_key() {
    for (text, error) in [
        ("", KeyError::Malformed),
        ("AAECAwQF", KeyError::Malformed),
        (&PRIVATE[..200], KeyError::Malformed),
        (ENCRYPTED, KeyError::Encrypted),
    ] {
        assert_eq!(HostKey::parse(text).map(|key| key.public_line()), Err(error), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_key_or_none(text in "\\PC{0,80}") {
        let _ = AuthorizedKey::parse(&text);
        let _ = AuthorizedKey::parse(&format!("{ED25519} {text}"));
        let _ = HostKey::parse(&text);
    }

    #[test]
    fn damaged_files_are_no_keys_or_keys(at in 0_usize..200, with in "[A-Za-z0-9+/]") {
        let mut text: String = PRIVATE.split_ascii_whitespace().collect();
        text.replace_range(at..at + 1, &with);
        let _ = HostKey::parse(&text);
    }
}

#[test]
fn base64_is_padded_or_not_and_nothing_else() {
    for text in ["Zg==", "Zg"] {
        assert_eq!(decode(text).as_deref(), Some(&b"f"[..]), "{text}");
    }
    for text in ["Z", "Zg=", "Zg===", "Zh==", "Zm 9", "Zm9v!", "====", "Zm8=Zm8="] {
        assert_eq!(decode(text), None, "{text}");
    }
}
