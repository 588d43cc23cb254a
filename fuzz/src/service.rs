//! Calls of one program that an input describes, against a server with state.
//!
//! An input is a sequence of steps:
//!
//! ```text
//!  0      1      2      4
//!  | who  | what | size | size bytes of arguments (fewer at the end) |
//! ```
//!
//! | bits of `who` | meaning |
//! |---|---|
//! | 0-1 | client: one host's superuser, its user 1000, another host's superuser, a host that no export names |
//! | 2 | over UDP |
//! | 3 | AUTH_NONE |
//! | 4-5 | which of the program's versions; one too many is one that is not served |
//! | 6 | from a port that everybody may use |
//! | 7 | under the number of the call before, as a repetition |
//!
//! Bits 0-4 of `what` are the procedure, bits 5-7 say how much time passes after the call; procedure 31 is none, but
//! says how hosts behave that are called back.
//!
//! In arguments, `FE ED 'H' n` stands for the n-th known handle and `FE ED 'C' n` for the n-th cookie of the server's own
//! calls, each with its length before it.

use crate::input::Input;
use crate::peer::{Manner, Peers};
use crate::results;
use crate::world::{FRIENDS, STRANGER, World};
use keelson_nfs_server::{MOUNT_PROGRAM, NFS_PROGRAM, RQUOTA_PROGRAM};
use keelson_oncrpc::{AcceptStat, AuthSys, Buffer, Credential, Encoder, ReplyError, padded, parse_reply};
use std::net::SocketAddr;
use std::rc::Rc;

/// Calls of one input; what follows is left out.
const MOST_STEPS: usize = 48;
/// Time that passes after a call, in seconds.
const PAUSES: [u64; 8] = [0, 0, 0, 0, 1, 5, 30, 120];
/// The procedure that is none.
pub const BEHAVE: u32 = 31;
/// What stands for a handle or a cookie in arguments.
pub const MARK: [u8; 2] = [0xfe, 0xed];

/// A program and where it is.
pub struct Service {
    /// Its number.
    pub program: u32,
    /// Its versions.
    pub versions: &'static [u32],
    /// The server's port for it.
    pub port: u16,
}

/// What an input did.
pub struct Played {
    /// The server and what became of it.
    pub world: World,
    /// The hosts that it calls.
    #[allow(dead_code)] // Kept until the server is gone.
    pub peers: Rc<Peers>,
}

/// One step.
struct Step<'a> {
    who: u8,
    what: u8,
    arguments: &'a [u8],
}

impl<'a> Step<'a> {
    fn next(input: &mut Input<'a>) -> Step<'a> {
        let (who, what, size) = (input.u8(), input.u8(), input.u16());
        Step { who, what, arguments: input.bytes(size.into()) }
    }

    fn has(&self, bit: u8) -> bool {
        self.who >> bit & 1 != 0
    }

    fn is_stranger(&self) -> bool {
        self.who & 3 == 3
    }

    fn procedure(&self) -> u32 {
        u32::from(self.what & 31)
    }

    fn from(&self) -> SocketAddr {
        let address = [FRIENDS[0], FRIENDS[0], FRIENDS[1], STRANGER][usize::from(self.who & 3)];
        SocketAddr::new(address, if self.has(6) { 40_000 } else { 900 })
    }

    fn version(&self, service: &Service) -> u32 {
        let last = service.versions.last().copied().unwrap_or_default();
        service.versions.get(usize::from(self.who >> 4 & 3)).copied().unwrap_or(last + 1)
    }

    /// The call as a message.
    fn message(&self, service: &Service, xid: u32, arguments: &[u8]) -> Vec<u8> {
        let mut out = Encoder::new(Buffer::unpooled(arguments.len() + 200), 0);
        for word in [xid, 0, 2, service.program, self.version(service), self.procedure()] {
            out.u32(word);
        }
        let uid = if self.who & 3 == 1 { 1000 } else { 0 };
        let credential = match self.has(3) {
            true => Credential::None,
            false => Credential::Sys(AuthSys::new(b"client", uid, uid, &[4, 24])),
        };
        credential.emit(&mut out);
        Credential::None.emit(&mut out);
        [out.written(), arguments].concat()
    }
}

/// Makes the calls; everything that is answered decodes.
pub fn play(service: &Service, input: Input<'_>) -> Played {
    play_in(World::new(), service, input)
}

/// The same with a server to which something has happened already.
pub fn play_in(mut world: World, service: &Service, mut input: Input<'_>) -> Played {
    let peers = Peers::start(&world, &[FRIENDS[0], FRIENDS[1], STRANGER]);
    let mut xid = 1;
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        let step = Step::next(&mut input);
        if step.procedure() == BEHAVE {
            behave(&peers, step.arguments);
        } else {
            xid += u32::from(!step.has(7));
            let arguments = expand(step.arguments, &world, &peers);
            let message = step.message(service, xid, &arguments);
            let reply = match step.has(2) {
                true => world.call_datagram(step.from(), service.port, message),
                false => world.call_stream(step.from(), service.port, message),
            };
            let reply = reply.unwrap_or_else(|| panic!("no answer to procedure {}", step.procedure()));
            judge(service, &step, xid, &reply);
            world.learn(&reply);
        }
        world.pass(PAUSES[usize::from(step.what >> 5)]);
    }
    Played { world, peers }
}

/// What must be true of a reply.
fn judge(service: &Service, step: &Step<'_>, xid: u32, reply: &[u8]) {
    let (program, version, procedure) = (service.program, step.version(service), step.procedure());
    let (found, body) = parse_reply(reply).expect("a reply");
    assert_eq!(found, xid, "the reply to another call");
    let results = match body {
        Ok(results) => results,
        Err(ReplyError::Malformed(error)) => panic!("a reply that does not decode: {error}"),
        Err(ReplyError::Accepted(AcceptStat::ProgramMismatch(served))) => {
            assert!(!service.versions.contains(&version), "{version} is served: {served:?}");
            return;
        }
        Err(_) => return,
    };
    if let Err(error) = results::check(program, version, procedure, results) {
        let bytes = results.remaining();
        panic!("results of program {program}.{version} procedure {procedure}: {error}: {bytes:02x?}");
    }
    let first = results.remaining().first_chunk().map(|word| u32::from_be_bytes(*word));
    let is_good = match (program, procedure) {
        (NFS_PROGRAM, 1..) | (MOUNT_PROGRAM, 1) => first == Some(0),
        (RQUOTA_PROGRAM, 1..) => first == Some(1),
        _ => false,
    };
    assert!(!(step.is_stranger() && is_good), "procedure {procedure} was served to a stranger");
}

/// Puts handles and cookies where they are meant.
fn expand(arguments: &[u8], world: &World, peers: &Peers) -> Vec<u8> {
    let mut out = Vec::with_capacity(arguments.len() + 64);
    let put = |bytes: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        out.extend_from_slice(bytes);
        out.resize(out.len() + padded(bytes.len()) - bytes.len(), 0);
    };
    let mut rest = arguments;
    while let Some(byte) = rest.first() {
        rest = match rest {
            [a, b, b'H', number, behind @ ..] if [*a, *b] == MARK => {
                put(&world.handles[usize::from(*number) % world.handles.len()], &mut out);
                behind
            }
            [a, b, b'C', number, behind @ ..] if [*a, *b] == MARK => {
                put(&peers.cookie((*number).into()), &mut out);
                behind
            }
            _ => {
                out.push(*byte);
                &rest[1..]
            }
        };
    }
    out
}

/// The step that says how hosts behave: a manner, then its status or what they say.
fn behave(peers: &Peers, arguments: &[u8]) {
    let mut input = Input::new(arguments);
    let manner = match input.u8() & 3 {
        0 => Manner::Silent,
        1 => Manner::Replies,
        2 => Manner::Answers(input.u8().into()),
        _ => Manner::Babbles,
    };
    peers.behave(manner, input.rest());
}

#[cfg(test)]
mod tests {
    use super::*;

    const NFS: Service = Service { program: NFS_PROGRAM, versions: &[3], port: 2049 };

    fn getattr(world: &World, who: u8, handle: &[u8]) -> Option<u32> {
        let step = Step { who, what: 1, arguments: &[] };
        let arguments = [&(handle.len() as u32).to_be_bytes()[..], handle].concat();
        let reply =
            world.call_stream(step.from(), NFS.port, step.message(&NFS, 7, &arguments)).expect("a reply");
        judge(&NFS, &step, 7, &reply);
        let results = parse_reply(&reply).expect("a reply").1.ok()?;
        results.remaining().first_chunk().map(|word| u32::from_be_bytes(*word))
    }

    /// Else nothing behind the check of the handle would be reached.
    #[test]
    fn known_handles_are_valid_and_no_strangers() {
        let world = World::new();
        for (number, handle) in world.handles.iter().enumerate() {
            assert_eq!(getattr(&world, 0, handle), Some(0), "handle {number}");
            assert_ne!(getattr(&world, 3, handle), Some(0), "handle {number} of a stranger");
        }
        world.finish();
    }

    #[test]
    fn marks_become_handles_and_handles_of_replies_are_learnt() {
        let mut world = World::new();
        let peers = Peers::start(&world, &[FRIENDS[0]]);
        let expanded = expand(&[1, 0xfe, 0xed, b'H', 0, 2, 0xfe, 0xed, b'C', 9, 0xfe], &world, &peers);
        let root = world.handles[0].clone();
        assert_eq!(expanded, [&[1, 0, 0, 0, 32][..], &root, &[2, 0, 0, 0, 0, 0xfe]].concat());
        let known = world.handles.len();
        let mut other = root.clone();
        other[31] ^= 1;
        world.learn(&[&[0, 0, 0, 0, 0, 0, 0, 32][..], &root, &[0, 0, 0, 32], &other, &[0; 4]].concat());
        assert_eq!(world.handles[known..], [other]);
    }
}
