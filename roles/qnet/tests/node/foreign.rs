//! A node of the other byte order (section 2.4; R20): it is listed, and its messages are refused.

use crate::world::{World, named, names_of};
use keelson_qnet::link::LinkAddress;
use keelson_qnet_wire::kif::{Connect, Cred, KifMessage};
use keelson_qnet_wire::l4::{Flags, Header, Kind, Layer, Packet};
use keelson_qnet_wire::lr::{LrForm, LrKind, LrPacket, Party};
use keelson_qnet_wire::tcs::Init;
use keelson_qnet_wire::{Endian, Errno, Mac};
use std::time::Duration;

const MAC: [u8; 6] = [2, 0, 0, 0, 0xbe, 1];
const SOON: Duration = Duration::from_millis(5);

fn frame(header: Header, payload: &[u8]) -> Vec<u8> {
    let header = Header { endian: Endian::Big, length: payload.len() as u32, ..header };
    [&header.encode()[..], payload].concat()
}

#[test]
fn listed_and_refused() {
    let world = World::new();
    let wire = world.wire();
    let (alpha, port) = world.mounted(named("alpha"), &wire);
    let node = alpha.clone();
    let link = port.link();
    let say = move |broadcast: bool, bytes: &[u8]| node.input(link, LinkAddress::Mac(MAC), broadcast, bytes);
    // What the node has sent to us alone, decoded where it can be.
    let heard = {
        let wire = wire.clone();
        move |kind: Kind| -> Vec<(Header, Vec<u8>)> {
            let seen = wire.seen.borrow();
            let to_us = seen.iter().filter(|sent| sent.to == Some(LinkAddress::Mac(MAC)));
            let packets = to_us.filter_map(|sent| Packet::decode(&sent.bytes).ok());
            let wanted = packets.filter(|packet| packet.header.kind == kind);
            wanted.map(|packet| (packet.header, packet.payload.to_vec())).collect()
        }
    };

    let mut room = [0; 512];
    let src = Party { name: "mips", domain: "lab.test", mac: Some(Mac(MAC)) };
    let packet = LrPacket { kind: LrKind::Reply, src, dst: Party::default() };
    let len = packet.emit(&mut room, Endian::Big, LrForm::default()).unwrap();
    say(true, &frame(Header { layer: Layer::Lr, ..Header::new(Kind::Lres) }, &room[..len]));
    world.pass(SOON);
    assert_eq!(names_of(&world, &alpha), ["alpha", "mips"]);

    let init = Init {
        src_name: "mips",
        src_domain: "lab.test",
        dst_name: "alpha",
        dst_domain: "lab.test",
        shares_acks: false,
    };
    let len = init.emit(&mut room, Endian::Big).unwrap();
    say(
        false,
        &frame(Header { src_conn_id: 0x77, src_nd_for_dst: 5, ..Header::new(Kind::TcsInit) }, &room[..len]),
    );
    world.pass(SOON);
    let (up, _) = heard(Kind::TcsRemUp)[0];
    assert_eq!(up.dst_conn_id, 0x77);
    let ours = Header {
        src_conn_id: 0x77,
        dst_conn_id: up.src_conn_id,
        src_nd_for_dst: 5,
        ..Header::new(Kind::TcsUp)
    };
    say(false, &frame(ours, &[]));

    let connect = Connect {
        version: Connect::VERSION,
        server_pid: 1,
        server_chid: 1,
        client_id: 0x0c10_0001,
        client_pid: 9,
    };
    let message = KifMessage::Connect(connect, Some(Cred::default()));
    let len = message.emit(&mut room, Endian::Big).unwrap();
    let user = Header { kind: Kind::User, flags: Flags::WHOLE, layer: Layer::Kif, seq: 1, ..ours };
    say(false, &frame(user, &room[..len]));
    world.pass(SOON);
    assert_eq!(heard(Kind::Ack).len(), 1);

    // It answers on a connection of its own, which we let come up.
    let (init, _) = *heard(Kind::TcsInit).last().expect("it opens the way back");
    let accepted = Header {
        src_conn_id: 0x88,
        dst_conn_id: init.src_conn_id,
        src_nd_for_dst: 5,
        ..Header::new(Kind::TcsRemUp)
    };
    say(false, &frame(accepted, &[]));
    world.pass(SOON);
    let answers: Vec<KifMessage> = heard(Kind::User)
        .iter()
        .filter(|(header, _)| header.layer == Layer::Kif)
        .filter_map(|(_, payload)| KifMessage::decode(payload).ok())
        .map(|decoded| decoded.message)
        .collect();
    let Some(KifMessage::ConnectFail(fail)) = answers.first() else { panic!("{answers:?}") };
    assert_eq!((fail.status, fail.client_id), (Errno::EENDIAN.0, 0x0c10_0001));
    assert!(world.text(&alpha, "/proc/qnetstats").contains("big-endian"));
}
