//! The server's side of a bulk test (lnet specification section 7.6).

use super::counters::Count;
use super::responder::{Asked, Responder};
use super::{Place, Transport, data};
use keelson_lnet_wire::srpc::{BrwDirection, Check, REPLY_PORTAL, Reply, Request, status};

/// Moves the data of one request and replies after that. A transfer that fails has no reply: neither has it on
/// Linux, and the client is waiting for its data anyway.
pub(super) async fn serve<T: Transport>(responder: &Responder<T>, asked: &Asked) {
    let Request::Brw { bulkid, direction, len, flags } = asked.request else { return };
    let acceptable = asked.request.check_brw(asked.features);
    let (Ok(()), Some(check)) = (acceptable, Check::from_wire(flags)) else {
        let status = acceptable.err().unwrap_or(status::EINVAL);
        return responder.reply(asked, asked.features, status, Reply::Brw);
    };
    let place = Place::new(REPLY_PORTAL, bulkid);
    let result = match direction {
        BrwDirection::Read => send(responder, asked, place, len).await,
        _ => fetch(responder, asked, place, len, check).await,
    };
    if let Some(status) = result {
        responder.reply(asked, asked.features, status, Reply::Brw);
    }
}

/// PUTs the data of a read and waits until they have left.
async fn send<T: Transport>(responder: &Responder<T>, asked: &Asked, place: Place, len: u32) -> Option<u32> {
    let (source, client) = (Some(asked.delivery.target), asked.delivery.initiator);
    let payload = responder.memory().pattern(len as usize);
    let timeout = responder.config().rpc_timeout;
    if let Err(error) = responder.transport().put_sent(source, client, place, payload, timeout).await {
        responder.fail(asked, format_args!("data {error}"));
        return None;
    }
    responder.counters().bulk_put.add(len.into());
    Some(status::OK)
}

/// GETs the data of a write and looks at them.
async fn fetch<T: Transport>(
    responder: &Responder<T>,
    asked: &Asked,
    place: Place,
    len: u32,
    check: Check,
) -> Option<u32> {
    let (source, client) = (Some(asked.delivery.target), asked.delivery.initiator);
    let timeout = responder.config().rpc_timeout;
    let payload = match responder.transport().get(source, client, place, len, timeout).await {
        Ok(payload) => payload,
        Err(error) => {
            responder.fail(asked, error);
            return None;
        }
    };
    responder.counters().bulk_get.add(payload.len() as u64);
    let verified = if payload.len() == len as usize {
        data::verify(&payload, check, asked.swapped).map_err(Some)
    } else {
        Err(None)
    };
    let Err(found) = verified else { return Some(status::OK) };
    responder.counters().corrupted.up();
    match found {
        Some(found) => log::warn!(target: "lnet", "selftest: data of {client}: {found}"),
        None => log::warn!(target: "lnet", "selftest: {} of {len} bytes from {client}", payload.len()),
    }
    Some(status::EBADMSG)
}
