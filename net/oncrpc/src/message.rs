//! Calls and replies (RFC 5531 section 9).

use crate::auth::{AuthStat, Credential, Flavor, MAX_AUTH_BODY};
use crate::xdr::{DecodeError, Decoder, Encoder};

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;

const MSG_ACCEPTED: u32 = 0;
const MSG_DENIED: u32 = 1;
const RPC_MISMATCH: u32 = 0;
const AUTH_ERROR: u32 = 1;

/// How an accepted call ended (`accept_stat`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcceptStat {
    /// Results follow.
    Success,
    /// The program is not served here.
    ProgramUnavailable,
    /// The program is served in other versions only.
    ProgramMismatch(RpcVersions),
    /// The version has no such procedure.
    ProcedureUnavailable,
    /// The arguments do not decode.
    GarbageArguments,
    /// The server failed.
    SystemError,
}

/// A range of versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RpcVersions {
    /// Lowest version served.
    pub lowest: u32,
    /// Highest version served.
    pub highest: u32,
}

/// The front of a call. The arguments follow it in the record.
#[derive(Clone, Copy, Debug)]
pub struct CallHeader<'a> {
    /// Chosen by the client; the reply repeats it.
    pub xid: u32,
    /// Program number.
    pub program: u32,
    /// Program version.
    pub version: u32,
    /// Procedure number.
    pub procedure: u32,
    /// Flavour of the credential.
    pub flavor: Flavor,
    /// Body of the credential, not yet parsed: procedure 0 takes anything.
    pub credential: &'a [u8],
}

/// Why a message is no call that can be answered with results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallRefused {
    /// Not even the front of a call: nobody to answer to.
    NotACall,
    /// A call of another RPC version: answered RPC_MISMATCH.
    WrongRpcVersion {
        /// The call's.
        xid: u32,
    },
    /// Program, version, procedure or credential do not decode: answered AUTH_ERROR or GARBAGE_ARGS.
    BadHeader {
        /// The call's.
        xid: u32,
        /// The part that did not decode was a credential or verifier.
        auth: Option<AuthStat>,
    },
}

/// Splits a record into call header and arguments.
pub fn parse_call(record: &[u8]) -> Result<(CallHeader<'_>, Decoder<'_>), CallRefused> {
    let mut input = Decoder::new(record);
    let (Ok(xid), Ok(CALL), Ok(rpc_version)) = (input.u32(), input.u32(), input.u32()) else {
        return Err(CallRefused::NotACall);
    };
    if rpc_version != RPC_VERSION {
        return Err(CallRefused::WrongRpcVersion { xid });
    }
    let (Ok(program), Ok(version), Ok(procedure)) = (input.u32(), input.u32(), input.u32()) else {
        return Err(CallRefused::BadHeader { xid, auth: None });
    };
    let Ok((flavor, credential)) = opaque_auth(&mut input) else {
        return Err(CallRefused::BadHeader { xid, auth: Some(AuthStat::BadCredential) });
    };
    if opaque_auth(&mut input).is_err() {
        return Err(CallRefused::BadHeader { xid, auth: Some(AuthStat::BadVerifier) });
    }
    Ok((CallHeader { xid, program, version, procedure, flavor, credential }, input))
}

fn opaque_auth<'a>(input: &mut Decoder<'a>) -> Result<(Flavor, &'a [u8]), DecodeError> {
    Ok((Flavor(input.u32()?), input.opaque(MAX_AUTH_BODY)?))
}

/// Writes the front of a call.
pub(crate) fn put_call(out: &mut Encoder, xid: u32, target: [u32; 3], credential: &Credential<'_>) {
    for value in [xid, CALL, RPC_VERSION].into_iter().chain(target) {
        out.u32(value);
    }
    credential.emit(out);
    Credential::None.emit(out);
}

/// Writes the front of an accepted reply, with the verifier AUTH_NONE.
pub(crate) fn put_accepted(out: &mut Encoder, xid: u32, status: AcceptStat) {
    for value in [xid, REPLY, MSG_ACCEPTED, Flavor::NONE.0, 0] {
        out.u32(value);
    }
    match status {
        AcceptStat::Success => out.u32(0),
        AcceptStat::ProgramUnavailable => out.u32(1),
        AcceptStat::ProgramMismatch(versions) => {
            out.u32(2);
            out.u32(versions.lowest);
            out.u32(versions.highest);
        }
        AcceptStat::ProcedureUnavailable => out.u32(3),
        AcceptStat::GarbageArguments => out.u32(4),
        AcceptStat::SystemError => out.u32(5),
    }
}

/// Writes the reply to a call of another RPC version.
pub(crate) fn put_rpc_mismatch(out: &mut Encoder, xid: u32) {
    for value in [xid, REPLY, MSG_DENIED, RPC_MISMATCH, RPC_VERSION, RPC_VERSION] {
        out.u32(value);
    }
}

/// Writes the reply to a call whose credential is not accepted.
pub(crate) fn put_auth_error(out: &mut Encoder, xid: u32, status: AuthStat) {
    for value in [xid, REPLY, MSG_DENIED, AUTH_ERROR, status as u32] {
        out.u32(value);
    }
}

/// Why a reply carries no results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyError {
    /// It does not decode.
    Malformed(DecodeError),
    /// The server speaks other RPC versions.
    RpcMismatch(RpcVersions),
    /// The server does not accept the credential; the value is an `auth_stat`.
    Auth(u32),
    /// The call was accepted but not executed.
    Accepted(AcceptStat),
}

impl From<DecodeError> for ReplyError {
    fn from(error: DecodeError) -> ReplyError {
        ReplyError::Malformed(error)
    }
}

/// The transaction number of a reply and its results.
pub fn parse_reply(record: &[u8]) -> Result<(u32, Result<Decoder<'_>, ReplyError>), DecodeError> {
    let mut input = Decoder::new(record);
    let xid = input.u32()?;
    match input.u32()? {
        REPLY => Ok((xid, reply_body(input))),
        other => Err(DecodeError::BadValue(other)),
    }
}

fn reply_body(mut input: Decoder<'_>) -> Result<Decoder<'_>, ReplyError> {
    match input.u32()? {
        MSG_ACCEPTED => {
            opaque_auth(&mut input)?;
            Err(ReplyError::Accepted(match input.u32()? {
                0 => return Ok(input),
                1 => AcceptStat::ProgramUnavailable,
                2 => AcceptStat::ProgramMismatch(versions(&mut input)?),
                3 => AcceptStat::ProcedureUnavailable,
                4 => AcceptStat::GarbageArguments,
                5 => AcceptStat::SystemError,
                other => return Err(DecodeError::BadValue(other).into()),
            }))
        }
        MSG_DENIED => match input.u32()? {
            RPC_MISMATCH => Err(ReplyError::RpcMismatch(versions(&mut input)?)),
            AUTH_ERROR => Err(ReplyError::Auth(input.u32()?)),
            other => Err(DecodeError::BadValue(other).into()),
        },
        other => Err(DecodeError::BadValue(other).into()),
    }
}

fn versions(input: &mut Decoder<'_>) -> Result<RpcVersions, DecodeError> {
    Ok(RpcVersions { lowest: input.u32()?, highest: input.u32()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;
    use proptest::prelude::*;

    fn words(words: &[u32]) -> alloc::vec::Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn a_call_has_the_bytes_of_rfc_5531() {
        let record = words(&[7, 0, 2, 100_003, 3, 1, 0, 0, 0, 0, 99]);
        let (header, arguments) = parse_call(&record).expect("a call");
        assert_eq!((header.xid, header.program, header.version, header.procedure), (7, 100_003, 3, 1));
        assert_eq!(arguments.remaining(), [0, 0, 0, 99]);
        let mut out = Encoder::new(Buffer::unpooled(64), 0);
        put_call(&mut out, 7, [100_003, 3, 1], &Credential::None);
        out.u32(99);
        assert_eq!(out.written(), record);
    }

    #[test]
    fn every_bad_front_has_its_answer() {
        let refused = |list: &[u32]| parse_call(&words(list)).map(|_| ()).unwrap_err();
        assert_eq!(refused(&[7, 0]), CallRefused::NotACall);
        assert_eq!(refused(&[7, 1, 2, 1, 1, 1]), CallRefused::NotACall);
        assert_eq!(refused(&[7, 0, 3]), CallRefused::WrongRpcVersion { xid: 7 });
        assert_eq!(refused(&[7, 0, 2, 1]), CallRefused::BadHeader { xid: 7, auth: None });
        assert_eq!(
            refused(&[7, 0, 2, 1, 1, 1, 1, 401]),
            CallRefused::BadHeader { xid: 7, auth: Some(AuthStat::BadCredential) }
        );
        assert_eq!(
            refused(&[7, 0, 2, 1, 1, 1, 0, 0, 0, 4]),
            CallRefused::BadHeader { xid: 7, auth: Some(AuthStat::BadVerifier) }
        );
    }

    #[test]
    fn replies_round_trip() {
        for status in [
            AcceptStat::ProgramUnavailable,
            AcceptStat::ProgramMismatch(RpcVersions { lowest: 1, highest: 3 }),
            AcceptStat::ProcedureUnavailable,
            AcceptStat::GarbageArguments,
            AcceptStat::SystemError,
        ] {
            let mut out = Encoder::new(Buffer::unpooled(64), 0);
            put_accepted(&mut out, 5, status);
            let (xid, body) = parse_reply(out.written()).expect("a reply");
            assert_eq!((xid, body.unwrap_err()), (5, ReplyError::Accepted(status)));
        }
        let mut out = Encoder::new(Buffer::unpooled(64), 0);
        put_auth_error(&mut out, 5, AuthStat::TooWeak);
        assert_eq!(out.written(), words(&[5, 1, 1, 1, 5]));
        out.rewind(0);
        put_rpc_mismatch(&mut out, 6);
        assert_eq!(out.written(), words(&[6, 1, 1, 0, 2, 2]));
        out.rewind(0);
        put_accepted(&mut out, 7, AcceptStat::Success);
        assert_eq!(out.written(), words(&[7, 1, 0, 0, 0, 0]));
    }

    proptest! {
        #[test]
        fn random_messages_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = parse_call(&bytes);
            let _ = parse_reply(&bytes);
        }
    }
}
