//! R4, R5 and R20: frames that get lost, and frames of another byte order.

use super::{PATIENCE, during, end, ensure, fetched, furnish, introduce, lists};
use crate::lab::{Lab, Setting};
use keelson_ext4_gate::checks::Result;
use keelson_ext4_gate::list::Case;
use keelson_qnet::client::OpenFlags;
use keelson_qnet::link::LinkAddress;
use keelson_qnet_wire::io::ioflag;
use keelson_qnet_wire::kif::{Connect, KifMessage};
use keelson_qnet_wire::l4::{Flags, Header, Kind, Layer, Packet};
use keelson_qnet_wire::lr::{LrForm, LrKind, LrPacket, Party};
use keelson_qnet_wire::{Endian, Errno, Mac};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// R4: no ACK gets through for a second; what was asked for happens once.
pub fn r4(case: &Case) -> Result<String> {
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    furnish(&lab, 1, "/log", b"begin\n".to_vec())?;
    let files = lab.machine(0).files();
    let opened = lab.run(PATIENCE, async move {
        files.open("/net/beta/log", OpenFlags::READ_WRITE.with(ioflag::APPEND)).await
    })?;
    let log = opened.map_err(during("opening"))?;
    lab.wires[0].set_judge(|seen| seen.packet.is_none_or(|packet| packet.header.kind != Kind::Ack));
    let wire = lab.wires[0].clone();
    lab.world.after(Duration::from_secs(1), move || wire.clear_judge());
    let (files, start) = (lab.machine(0).files(), lab.ledger.age());
    let done = lab.run(PATIENCE, async move {
        files.stat("/net/beta/log").await?;
        log.write_all(b"once\n").await?;
        log.close().await
    })?;
    done.map_err(during("stat and append without ACKs"))?;
    let took = lab.ledger.age() - start;
    lab.pass(Duration::from_secs(3));
    ensure(fetched(&lab, 1, "/log")? == b"begin\nonce\n", || "the append was not done once".into())?;
    let duplicates = lab.machine(1).now().network.look(|transport| transport.counters().dup_rx);
    ensure(duplicates > 0, || "nothing was sent again".into())?;
    end(&lab)?;
    Ok(format!("done in {took:?}, {duplicates} frames twice"))
}

/// R5: the first REM_UP is lost, then the first UP.
pub fn r5(case: &Case) -> Result<String> {
    let lost = if case.seed.is_multiple_of(2) { Kind::TcsRemUp } else { Kind::TcsUp };
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    furnish(&lab, 1, "/file", b"content".to_vec())?;
    let (inits, gone) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(false)));
    let count = inits.clone();
    lab.wires[0].set_judge(move |seen| {
        let Some(Packet { header, .. }) = seen.packet else { return true };
        // Of the connection that alpha opens.
        let from_opener = matches!(header.kind, Kind::TcsInit | Kind::TcsUp);
        if (seen.from == 0) != from_opener {
            return true;
        }
        count.set(count.get() + u32::from(header.kind == Kind::TcsInit));
        header.kind != lost || gone.replace(true)
    });
    let files = lab.machine(0).files();
    let read = lab.run(PATIENCE, async move { files.read_to_end("/net/beta/file", 99).await })?;
    ensure(read == Ok(b"content".to_vec()), || format!("read {read:?}"))?;
    let expected = if lost == Kind::TcsRemUp { 2 } else { 1 };
    ensure(inits.get() == expected, || format!("{} INITs, not {expected}", inits.get()))?;
    end(&lab)?;
    Ok(format!("{lost:?} lost, {} INITs", inits.get()))
}

/// A node of the other byte order, played by the test.
const BIG: LinkAddress = LinkAddress::Mac([2, 0, 0, 0, 0, 0x77]);

fn emitted(header: Header, payload: &[u8]) -> Vec<u8> {
    let header = Header { endian: Endian::Big, length: payload.len() as u32, ..header };
    [&header.encode()[..], payload].concat()
}

/// R20: a big-endian node is listed, and its CONNECT refused with EENDIAN.
pub fn r20(case: &Case) -> Result<String> {
    let lab = Lab::new(&Setting { verbose: case.verbose, ..Setting::new(case.seed, 2) });
    introduce(&lab);
    let (wire, station) = lab.machine(0).stations[0].clone();
    let stranger = wire.station(BIG);
    let heard: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
    let ears = heard.clone();
    stranger.power(Some(Rc::new(move |_, _, frame: &[u8]| ears.borrow_mut().push(frame.to_vec()))));
    let say = |bytes: &[u8], broadcast| wire.inject(station.number(), BIG, broadcast, bytes);
    let own = Party { name: "mips", domain: crate::machine::DOMAIN, mac: Some(Mac([2, 0, 0, 0, 0, 0x77])) };
    let announcement = LrPacket { kind: LrKind::Reply, src: own, dst: Party::default() };
    let mut room = [0; 512];
    let len = announcement.emit(&mut room, Endian::Big, LrForm::default()).map_err(|_| "no room")?;
    say(&emitted(Header::new(Kind::Lres), &room[..len]), true);
    lab.pass(Duration::from_millis(5));
    let listed =
        lab.machine(0).now().network.look(|transport| transport.nodes().any(|entry| &*entry.name == "mips"));
    ensure(listed, || "it is not listed".into())?;
    let init = keelson_qnet_wire::tcs::Init {
        src_name: "mips",
        src_domain: crate::machine::DOMAIN,
        dst_name: "alpha",
        dst_domain: crate::machine::DOMAIN,
        shares_acks: false,
    };
    let len = init.emit(&mut room, Endian::Big).map_err(|_| "no room")?;
    say(&emitted(Header { src_conn_id: 0x21, ..Header::new(Kind::TcsInit) }, &room[..len]), false);
    lab.pass(Duration::from_millis(5));
    let find = |kind: Kind| {
        let frames = heard.borrow();
        let mut headers = frames.iter().filter_map(|frame| Header::decode(frame).ok());
        headers.rfind(|header| header.kind == kind)
    };
    let up = find(Kind::TcsRemUp).ok_or("no REM_UP")?;
    // The way back: alpha opens it by itself.
    let back = find(Kind::TcsInit).ok_or("no INIT of the way back")?;
    let on_back = Header { src_conn_id: 0x31, dst_conn_id: back.src_conn_id, ..Header::new(Kind::TcsRemUp) };
    say(&emitted(on_back, &[]), false);
    let connect = Connect { version: 1, server_pid: 1, server_chid: 1, client_id: 99, client_pid: 7 };
    let len = KifMessage::Connect(connect, None).emit(&mut room, Endian::Big).map_err(|_| "no room")?;
    let user = Header { src_conn_id: 0x21, dst_conn_id: up.src_conn_id, seq: 1, ..Header::new(Kind::User) };
    say(&emitted(Header { flags: Flags::WHOLE, layer: Layer::Kif, ..user }, &room[..len]), false);
    lab.pass(Duration::from_millis(20));
    let refused = heard.borrow().iter().any(|frame| {
        let Ok(packet) = Packet::decode(frame) else { return false };
        let Ok(decoded) = KifMessage::decode(packet.payload) else { return false };
        matches!(decoded.message, KifMessage::ConnectFail(fail) if fail.client_id == 99 && fail.status == Errno::EENDIAN.0)
    });
    ensure(refused, || "no CONNECT_FAIL with EENDIAN".into())?;
    ensure(find(Kind::Ack).is_some_and(|ack| ack.seq == 1), || "its message was not acknowledged".into())?;
    ensure(lists(&lab, 0, 1), || "beta is not listed any more".into())?;
    end(&lab)?;
    Ok("listed and refused".into())
}
