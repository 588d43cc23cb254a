//! `sniff`: frames as they pass, and at the end what nodes were seen to do.

use super::{BATCH, wait};
use crate::failure::Failure;
use crate::json::Object;
use crate::session::Session;
use crate::sniff::{Observer, Seen, describe};
use crate::transport::Transport;
use keelson_hal::Instant;
use keelson_qnet::link::LinkAddress;
use std::rc::Rc;
use std::time::Duration;

/// Prints frames until there were so many, so much time has passed, all files are read, or Ctrl-C is typed.
pub async fn sniff(
    session: &Session,
    transports: Vec<Rc<dyn Transport>>,
    count: Option<u64>,
    span: Option<Duration>,
) -> Result<(), Failure> {
    let handle = session.host.handle();
    let start = handle.now();
    let end = span.map_or(Instant::FAR_FUTURE, |span| start + span);
    let interrupts = crate::interrupt::Interrupts::watch(session);
    let mut observer = Observer::default();
    let mut printed = 0;
    loop {
        let mut lines = Vec::new();
        let mut busy = false;
        for transport in &transports {
            let is_ip = matches!(transport.address(), LinkAddress::Ipv4(_));
            let frames = transport.receive(BATCH, &mut |frame| {
                let Some(seen) = Seen::of(frame, is_ip) else { return };
                if count.is_some_and(|count| printed >= count) {
                    return;
                }
                printed += 1;
                observer.observe(&seen, frame, is_ip);
                lines.push(line(session, &seen, transport.name(), handle.now() - start));
            });
            busy |= frames == BATCH;
        }
        for line in lines {
            session.output.write(line.as_bytes()).await?;
        }
        let enough = count.is_some_and(|count| printed >= count) || handle.now() >= end;
        if enough || transports.iter().all(|transport| transport.has_ended()) || interrupts.was_interrupted()
        {
            break;
        }
        if !busy {
            wait(session, &transports, end.min(interrupts.next_look(&handle))).await;
        }
    }
    profiles(session, &observer).await
}

fn line(session: &Session, seen: &Seen<'_>, link: &str, at: Duration) -> String {
    let text = match &seen.packet {
        Ok(packet) => describe(packet),
        Err(error) => format!("malformed: {error}"),
    };
    let seconds = at.as_secs_f64();
    if !session.options.json {
        return format!("{seconds:>12.6} {} > {} {text}\n", seen.from, seen.to);
    }
    let mut object = Object::new().float("seconds", seconds).text("link", link);
    object = object.text("from", &seen.from).text("to", &seen.to).text("text", &text);
    if let Ok(packet) = &seen.packet {
        let header = &packet.header;
        object = object
            .number("type", header.kind.to_wire())
            .number("flags", header.flags.0)
            .number("layer", header.layer.to_wire())
            .number("src_conn_id", header.src_conn_id)
            .number("dst_conn_id", header.dst_conn_id)
            .number("seq", header.seq)
            .number("offset", header.offset)
            .number("length", header.length);
    }
    let mut text = object.finish();
    text.push('\n');
    text
}

/// What was seen of each node, by the rows of section 28.
async fn profiles(session: &Session, observer: &Observer) -> Result<(), Failure> {
    for (address, ways) in observer.nodes() {
        let name = if ways.name.is_empty() { "?" } else { &ways.name };
        if !session.options.json {
            let head = format!("\nnode {name} at {address}: {} frames\n", ways.frames);
            session.output.write(head.as_bytes()).await?;
        }
        for ((row, about), answer) in &ways.answers {
            let text = || format!("  {row:>2} {about}: {answer}");
            let object = || {
                let object = Object::new().text("node", name).text("address", address);
                object.number("row", *row).text("about", about).text("seen", answer)
            };
            session.print(text, object).await?;
        }
    }
    Ok(())
}
