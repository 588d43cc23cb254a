//! T01 to T03, T31: LAN resolver. T26, T27: node resolver.

use crate::{ALPHA, BETA, check, check_alpha, check_beta, from_alpha, from_beta};
use keelson_qnet_wire::frame::Mac;
use keelson_qnet_wire::l4::{Header, Kind, Layer};
use keelson_qnet_wire::lr::{LrForm, LrKind, LrPacket, Party};
use keelson_qnet_wire::nr::NrMessage;
use keelson_qnet_wire::{Endian, Nd};

const DOMAIN: &str = "lab.test";

fn check_lr(name: &str, dst: Mac, src: Mac, endian: Endian, packet: LrPacket<'_>) {
    let mut payload = [0xee; 256];
    let len = packet.emit(&mut payload, endian, LrForm::default()).unwrap();
    let payload = &payload[..len];
    assert_eq!(LrPacket::decode(payload, endian), Ok((packet, LrForm::default())), "{name}");
    check(name, dst, src, Header { endian, length: len as u32, ..Header::new(Kind::Lres) }, payload);
}

#[test]
fn lan_resolver() {
    let alpha = Party { name: "alpha", domain: DOMAIN, mac: Some(ALPHA) };
    let beta = Party { name: "beta", domain: DOMAIN, mac: Some(BETA) };
    let request = LrPacket { kind: LrKind::Request, src: alpha, dst: Party { mac: None, ..beta } };
    check_lr("T01", Mac::BROADCAST, ALPHA, Endian::Little, request);
    check_lr("T31", Mac::BROADCAST, ALPHA, Endian::Big, request);
    let reply = LrPacket { kind: LrKind::Reply, src: beta, dst: alpha };
    check_lr("T02", ALPHA, BETA, Endian::Little, reply);
    let announcement = LrPacket { dst: Party::default(), ..reply };
    check_lr("T03", Mac::BROADCAST, BETA, Endian::Little, announcement);
    assert!(announcement.is_announcement() && !reply.is_announcement() && !request.is_announcement());
}

fn nr_payload(message: NrMessage<'_>) -> Vec<u8> {
    let mut payload = vec![0xee; NrMessage::MAX_LEN];
    let len = message.emit(&mut payload, Endian::Little).unwrap();
    payload.truncate(len);
    assert_eq!(NrMessage::decode(&payload, Endian::Little), Ok(message));
    payload
}

#[test]
fn node_resolver() {
    let request = nr_payload(NrMessage::RemoteReq { id: 0x77, name: "gamma.lab.test" });
    check_alpha("T26", Header { layer: Layer::Nr, ..from_alpha(Kind::User, 11, 19) }, &request);
    let answer = nr_payload(NrMessage::RemoteAns { id: 0x77, nd: Nd(12) });
    check_beta("T27", Header { layer: Layer::Nr, ..from_beta(9, 8) }, &answer);
}
