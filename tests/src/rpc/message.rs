//! Calls and replies (RFC 5531 section 9), written without the appliance's own message code: only XDR items are
//! shared.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use keelson_oncrpc::{AuthSys, Credential, DecodeError, Decoder, Encoder};

/// What to call: program, version, procedure.
pub type Target = [u32; 3];

/// A call without results.
#[derive(Debug)]
pub enum RpcError {
    /// The connection failed or ended, or nothing came in time.
    Io(io::Error),
    /// The server refused to execute the call.
    Refused(Refusal),
    /// What came back is no reply to the call.
    Malformed(String),
}

impl std::fmt::Display for RpcError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for RpcError {}

impl From<io::Error> for RpcError {
    fn from(error: io::Error) -> RpcError {
        RpcError::Io(error)
    }
}

impl From<RpcError> for io::Error {
    fn from(error: RpcError) -> io::Error {
        match error {
            RpcError::Io(error) => error,
            other => io::Error::other(other),
        }
    }
}

/// The answers of RFC 5531 that carry no results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// RPC_MISMATCH with the lowest and highest version.
    RpcMismatch(u32, u32),
    /// AUTH_ERROR with its `auth_stat`.
    Auth(u32),
    /// PROG_UNAVAIL.
    ProgramUnavailable,
    /// PROG_MISMATCH with the lowest and highest version.
    ProgramMismatch(u32, u32),
    /// PROC_UNAVAIL.
    ProcedureUnavailable,
    /// GARBAGE_ARGS.
    GarbageArguments,
    /// SYSTEM_ERR.
    SystemError,
}

/// Who the calls claim to come from.
#[derive(Default)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// Writes everything of a call but its arguments, with AUTH_SYS.
pub(super) fn put_call(out: &mut Encoder, xid: u32, [program, version, procedure]: Target, who: &Identity) {
    for word in [xid, 0, 2, program, version, procedure] {
        out.u32(word);
    }
    Credential::Sys(AuthSys::new(b"bench", who.uid, who.gid, &who.groups)).emit(out);
    Credential::None.emit(out);
}

/// A call with AUTH_NONE as bytes without record mark, for tests that change some of them. `target` begins with the
/// RPC version.
pub fn message(xid: u32, target: [u32; 4], arguments: &[u8]) -> Vec<u8> {
    let words = [xid, 0].into_iter().chain(target).chain([0; 4]);
    let mut message: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
    message.extend_from_slice(arguments);
    message
}

/// A transaction number that this process has not used.
pub fn next_xid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0x1000_0000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The results in a reply, or why there are none.
pub fn parse_reply(reply: &[u8]) -> Result<&[u8], RpcError> {
    parse(reply).unwrap_or_else(|error| Err(RpcError::Malformed(format!("{error} in {reply:02x?}"))))
}

fn parse(reply: &[u8]) -> Result<Result<&[u8], RpcError>, DecodeError> {
    let mut input = Decoder::new(reply);
    let _xid = input.u32()?;
    let refused = match (input.u32()?, input.u32()?) {
        (1, 0) => {
            let _flavor = input.u32()?;
            input.opaque(400)?;
            match input.u32()? {
                0 => return Ok(Ok(input.remaining())),
                1 => Refusal::ProgramUnavailable,
                2 => Refusal::ProgramMismatch(input.u32()?, input.u32()?),
                3 => Refusal::ProcedureUnavailable,
                4 => Refusal::GarbageArguments,
                5 => Refusal::SystemError,
                other => return Ok(Err(RpcError::Malformed(format!("accept_stat {other}")))),
            }
        }
        (1, 1) => match input.u32()? {
            0 => Refusal::RpcMismatch(input.u32()?, input.u32()?),
            1 => Refusal::Auth(input.u32()?),
            other => return Ok(Err(RpcError::Malformed(format!("reject_stat {other}")))),
        },
        other => return Ok(Err(RpcError::Malformed(format!("message type and status {other:?}")))),
    };
    input.finish()?;
    Ok(Err(RpcError::Refused(refused)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn replies_have_results_or_a_reason() {
        assert_eq!(parse_reply(&words(&[7, 1, 0, 0, 0, 0, 42])).unwrap(), [0, 0, 0, 42]);
        let cases = [
            (&[7, 1, 0, 0, 0, 1][..], Refusal::ProgramUnavailable),
            (&[7, 1, 0, 0, 0, 2, 3, 4], Refusal::ProgramMismatch(3, 4)),
            (&[7, 1, 0, 0, 0, 3], Refusal::ProcedureUnavailable),
            (&[7, 1, 0, 0, 0, 4], Refusal::GarbageArguments),
            (&[7, 1, 0, 0, 0, 5], Refusal::SystemError),
            (&[7, 1, 1, 0, 2, 2], Refusal::RpcMismatch(2, 2)),
            (&[7, 1, 1, 1, 5], Refusal::Auth(5)),
        ];
        for (reply, expected) in cases {
            let reply = words(reply);
            match parse_reply(&reply) {
                Err(RpcError::Refused(refusal)) => assert_eq!(refusal, expected),
                other => panic!("{other:?} instead of {expected:?}"),
            }
        }
        // A call, nothing, a reason cut short, bytes after a reason, numbers that mean nothing.
        for bad in [&[7, 0, 0][..], &[], &[7, 1, 0, 0, 0, 2, 3], &[7, 1, 1, 1, 5, 0], &[7, 1, 0, 0, 0, 6]] {
            assert!(matches!(parse_reply(&words(bad)), Err(RpcError::Malformed(_))), "{bad:?}");
        }
    }
}
