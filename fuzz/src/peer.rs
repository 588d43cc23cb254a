//! A client's host as the server sees it when it calls back: rpcbind, a lock manager and a status monitor, behaving as
//! the input says.

use crate::world::{SERVER, World};
use keelson_nfs_server::{NLM_PROGRAM, NSM_PROGRAM, RPCBIND_PROGRAM};
use keelson_oncrpc::memory::MemoryDatagrams;
use keelson_oncrpc::{Buffer, CallHeader, Decoder, Encoder, RpcDatagrams, parse_call, parse_reply};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Where a host has its programs.
const PROGRAMS_PORT: u16 = 4001;
const RPCBIND_PORT: u16 = 111;
const SERVER_NLM_PORT: u16 = 32_803;

const GRANTED: u32 = 5;
const GRANTED_MSG: u32 = 10;
const GRANTED_RES: u32 = 15;

/// Cookies that are remembered.
const MOST_COOKIES: usize = 16;
/// Longest message that a host sends.
const LARGEST: usize = 4096;

/// What a host does when it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Nothing.
    Silent,
    /// It replies, and takes no lock.
    Replies,
    /// It replies, and answers a grant with this status.
    Answers(u32),
    /// It sends these bytes, behind the number of the call.
    Babbles,
}

/// All hosts, which behave alike.
pub struct Peers {
    manner: Cell<Manner>,
    babble: RefCell<Vec<u8>>,
    cookies: RefCell<Vec<Vec<u8>>>,
}

impl Peers {
    /// Hosts at these addresses.
    pub fn start(world: &World, addresses: &[IpAddr]) -> Rc<Peers> {
        let peers = Rc::new(Peers {
            manner: Cell::new(Manner::Answers(0)),
            babble: RefCell::default(),
            cookies: RefCell::default(),
        });
        for address in addresses {
            for port in [RPCBIND_PORT, PROGRAMS_PORT] {
                let socket = world.network.bind(SocketAddr::new(*address, port));
                world.handle().spawn("peer", serve(peers.clone(), socket, *address));
            }
        }
        peers
    }

    /// From now on they behave like this; `babble` is what is said by [`Manner::Babbles`].
    pub fn behave(&self, manner: Manner, babble: &[u8]) {
        self.manner.set(manner);
        self.babble.replace(babble.to_vec());
    }

    /// A cookie that the server used, by its number.
    pub fn cookie(&self, number: usize) -> Vec<u8> {
        let cookies = self.cookies.borrow();
        cookies.get(number % cookies.len().max(1)).cloned().unwrap_or_default()
    }
}

async fn serve(peers: Rc<Peers>, socket: MemoryDatagrams, address: IpAddr) {
    while let Some(datagram) = socket.receive().await {
        if parse_reply(&datagram.payload).is_ok() {
            // To GRANTED_RES, which has no results.
            continue;
        }
        let (call, arguments) = parse_call(&datagram.payload).expect("the server's calls decode");
        let manner = peers.manner.get();
        let reply = match manner {
            Manner::Silent => continue,
            Manner::Babbles => [&call.xid.to_be_bytes()[..], &peers.babble.borrow()].concat(),
            Manner::Replies | Manner::Answers(_) => reply(&call, arguments, address),
        };
        socket.send(Some(address), datagram.peer, &reply).await;
        if call.program == NLM_PROGRAM && matches!(call.procedure, GRANTED | GRANTED_MSG) {
            let mut arguments = arguments;
            let cookie = arguments.opaque(1024).expect("a cookie").to_vec();
            if let Manner::Answers(status) = manner {
                let result = granted_res(call.version, &cookie, status);
                socket.send(Some(address), SocketAddr::new(SERVER, SERVER_NLM_PORT), &result).await;
            }
            let mut cookies = peers.cookies.borrow_mut();
            if cookies.len() < MOST_COOKIES {
                cookies.push(cookie);
            }
        }
    }
}

fn message(words: &[u32]) -> Encoder {
    let mut out = Encoder::new(Buffer::unpooled(LARGEST), 0);
    words.iter().for_each(|word| out.u32(*word));
    out
}

/// An accepted reply with what a well-behaved host says. One that is itself a reply is answered with nothing useful.
fn reply(call: &CallHeader<'_>, mut arguments: Decoder<'_>, address: IpAddr) -> Vec<u8> {
    let mut out = message(&[call.xid, 1, 0, 0, 0, 0]);
    match (call.program, call.version, call.procedure) {
        (RPCBIND_PROGRAM, 2, 3) => out.u32(PROGRAMS_PORT.into()),
        (RPCBIND_PROGRAM, _, 3) => {
            let [high, low] = PROGRAMS_PORT.to_be_bytes();
            out.opaque(format!("{address}.{high}.{low}").as_bytes());
        }
        (NLM_PROGRAM, _, GRANTED) => {
            out.opaque(arguments.opaque(1024).expect("a cookie"));
            out.u32(0);
        }
        (NLM_PROGRAM | NSM_PROGRAM, ..) => {}
        other => panic!("the server calls {other:?}"),
    }
    out.written().to_vec()
}

/// A call of GRANTED_RES without identity.
fn granted_res(version: u32, cookie: &[u8], status: u32) -> Vec<u8> {
    let mut out = message(&[0x6772_616e, 0, 2, NLM_PROGRAM, version, GRANTED_RES, 0, 0, 0, 0]);
    out.opaque(cookie);
    out.u32(status);
    out.written().to_vec()
}
