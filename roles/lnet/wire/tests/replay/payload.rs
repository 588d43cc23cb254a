//! What the messages of a recording carry: ping information, selftest RPCs, destination lists, test data.

use crate::dialogue::{Dialogue, Message};
use keelson_lnet_wire::message::{Get, Header, Kind, Wmd};
use keelson_lnet_wire::ping::{MAX_INTERFACES, PingInfo};
use keelson_lnet_wire::srpc::{
    self, Body, BrwDirection, Check, PATTERN, Request, decode_destinations, encode_destinations, verify,
};
use std::collections::HashMap;

/// How often each kind of payload was found.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Found {
    pub ping_infos: usize,
    pub rpcs: usize,
    pub destination_lists: usize,
    pub bulks: usize,
    pub acks: usize,
    pub gets: usize,
    pub noops: usize,
}

/// What bulk data under some match bits are.
#[derive(Clone, Copy, Debug)]
enum Bulk {
    Data(u32, Check),
    Destinations(u32),
}

/// What messages said earlier that later ones refer to.
#[derive(Default)]
struct Context {
    gets: HashMap<Wmd, Get>,
    bulks: HashMap<u64, Bulk>,
}

/// Decodes every payload and encodes it again.
pub fn check(dialogues: &[Dialogue]) -> Found {
    let all = || dialogues.iter().flat_map(|dialogue| dialogue.to_server.iter().chain(&dialogue.to_client));
    let mut context = Context::default();
    all()
        .filter_map(|message| message.lnet.as_ref())
        .for_each(|(header, payload)| context.note(header, payload));
    let mut found = Found::default();
    for Message { ksock, lnet } in all() {
        match lnet {
            Some((header, payload)) => context.check(header, payload, &mut found),
            None => {
                assert_eq!(
                    ksock.zc_acks(keelson_lnet_wire::hello::Version::V3).count(),
                    0,
                    "only keepalives"
                );
                found.noops += 1;
            }
        }
    }
    found
}

impl Context {
    fn note(&mut self, header: &Header, payload: &[u8]) {
        if header.kind == Kind::Get {
            self.gets.insert(header.get().return_wmd, header.get());
        }
        if header.kind != Kind::Put || header.put().is_push() {
            return;
        }
        let Ok(received) = srpc::Message::decode(payload) else { return };
        match received.message.body {
            Body::Request { request: Request::Brw { bulkid, direction, len, flags }, .. } => {
                assert!(!matches!(direction, BrwDirection::Unknown(_)));
                self.bulks.insert(bulkid, Bulk::Data(len, Check::from_wire(flags).unwrap()));
            }
            Body::Request { request: Request::Test(test), .. } if test.is_client == 1 => {
                self.bulks.insert(test.bulkid, Bulk::Destinations(test.destinations));
            }
            _ => {}
        }
    }

    fn check(&self, header: &Header, payload: &[u8], found: &mut Found) {
        match header.kind {
            Kind::Ack => found.acks += 1,
            Kind::Get => found.gets += 1,
            Kind::Put if header.put().is_push() => found.ping(payload),
            Kind::Put => {
                let put = header.put();
                assert!(put.ack_wmd.is_none() && put.hdr_data == 0 && put.offset == 0);
                match self.bulks.get(&put.match_bits) {
                    Some(bulk) if put.portal == srpc::REPLY_PORTAL => found.bulk(*bulk, payload),
                    _ => found.rpc(put.portal, put.match_bits, payload),
                }
            }
            Kind::Reply => {
                let get = self.gets.get(&header.reply().dst_wmd).expect("a REPLY to a GET of the recording");
                match self.bulks.get(&get.match_bits) {
                    _ if get.is_ping() => found.ping(payload),
                    Some(bulk) => found.bulk(*bulk, payload),
                    None => panic!("a REPLY to an unknown GET: {get:?}"),
                }
            }
        }
    }
}

impl Found {
    fn ping(&mut self, payload: &[u8]) {
        let info = PingInfo::decode(payload, MAX_INTERFACES).unwrap();
        assert_eq!(info.encode(), payload);
        self.ping_infos += 1;
    }

    fn rpc(&mut self, portal: u32, match_bits: u64, payload: &[u8]) {
        let received = srpc::Message::decode(payload).unwrap();
        let message = received.message;
        assert!(!received.swapped && message.version == 1);
        match message.body {
            Body::Request { .. } => {
                assert_eq!(portal, message.service().portal());
                assert_eq!(match_bits, u64::from(message.service().number()));
                assert_eq!(message.request_check(), Ok(()));
            }
            Body::Reply { status, .. } => assert_eq!((portal, status), (srpc::REPLY_PORTAL, 0)),
        }
        assert_eq!(message.encode(), payload, "{message:?}");
        self.rpcs += 1;
    }

    fn bulk(&mut self, bulk: Bulk, payload: &[u8]) {
        match bulk {
            Bulk::Data(len, check) => {
                assert_eq!(payload.len(), len as usize);
                assert_eq!(verify(payload, check, PATTERN, false), Ok(()));
                self.bulks += 1;
            }
            Bulk::Destinations(count) => {
                let destinations = decode_destinations(payload, false).unwrap();
                assert_eq!(destinations.len(), count as usize);
                assert_eq!(encode_destinations(&destinations).unwrap(), payload);
                self.destination_lists += 1;
            }
        }
    }
}

/// What the parameters of a bulk test are judged by.
trait RequestCheck {
    fn request_check(&self) -> Result<(), u32>;
}

impl RequestCheck for srpc::Message {
    fn request_check(&self) -> Result<(), u32> {
        match &self.body {
            Body::Request { request, .. } => request.check_brw(self.features),
            Body::Reply { .. } => Ok(()),
        }
    }
}
