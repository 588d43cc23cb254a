//! Requests to the HTTP server that shows metrics: whatever comes is refused or read, in bounds, however it is cut.

use keelson_ops::http::{HEAD_MAX, Inbox, Refusal, Request};

/// What came of a stream: heads that were complete, and what was refused at the end.
type Seen = (Vec<Vec<u8>>, Option<Refusal>);

/// The first byte says in which pieces the rest arrives.
pub fn http(input: &[u8]) {
    let Some((pieces, stream)) = input.split_first() else { return };
    let (mut whole, mut cut) = (read(stream, HEAD_MAX), read(stream, usize::from(*pieces).max(1)));
    // Of two limits that one piece is beyond, it may be the other that smaller ones reach first.
    let too_long = |refusal: Refusal| match refusal {
        Refusal::TargetTooLong => Refusal::HeadTooLong,
        other => other,
    };
    (whole.1, cut.1) = (whole.1.map(too_long), cut.1.map(too_long));
    assert_eq!(whole, cut);
    for head in &whole.0 {
        if let Ok(request) = Request::parse(head) {
            assert!(
                request.path.starts_with('/') && request.path.bytes().all(|byte| byte.is_ascii_graphic())
            );
        }
    }
    // Heads that no inbox would give are read, too.
    let _ = Request::parse(stream);
}

fn read(stream: &[u8], piece: usize) -> Seen {
    let (mut inbox, mut heads, mut rest) = (Inbox::default(), Vec::new(), stream);
    loop {
        match inbox.head() {
            Ok(Some(len)) => {
                assert!((1..=HEAD_MAX).contains(&len) && inbox.bytes(len).len() == len);
                heads.push(inbox.bytes(len).to_vec());
                inbox.forget(len);
            }
            Ok(None) if rest.is_empty() => return (heads, None),
            Ok(None) => {
                let taken = inbox.push(&rest[..piece.min(rest.len())]);
                assert!(taken > 0, "while nothing is refused there is room");
                rest = &rest[taken..];
            }
            Err(refusal) => return (heads, Some(refusal)),
        }
    }
}
