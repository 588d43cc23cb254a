//! Selftest on top of this node's LNet.

use super::{Place, TransferError, Transport};
use crate::buffers::Payload;
use crate::lnd::SendError;
use crate::lnet::{Lnet, PutArgs, RequestError};
use core::time::Duration;
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::srpc::LnetCounters;

impl From<Place> for PutArgs {
    fn from(place: Place) -> PutArgs {
        let Place { portal, match_bits, hdr_data } = place;
        PutArgs { portal, match_bits, hdr_data, offset: 0 }
    }
}

impl From<RequestError> for TransferError {
    fn from(error: RequestError) -> TransferError {
        match error {
            RequestError::TimedOut => TransferError::TimedOut,
            RequestError::NotSent(error) => TransferError::Send(error),
            RequestError::Down => TransferError::Send(SendError::Down),
            RequestError::NoRoute | RequestError::TooMany | RequestError::Malformed(_) => {
                TransferError::Send(SendError::Unreachable)
            }
        }
    }
}

impl Transport for Lnet {
    fn put(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        place: Place,
        payload: Payload,
    ) -> Result<(), SendError> {
        Lnet::put(self, source, to, place.into(), payload)
    }

    async fn put_sent(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        place: Place,
        payload: Payload,
        timeout: Duration,
    ) -> Result<(), TransferError> {
        Ok(Lnet::put_sent(self, source, to, place.into(), payload, timeout).await?)
    }

    async fn put_acked(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        place: Place,
        payload: Payload,
        timeout: Duration,
    ) -> Result<u32, TransferError> {
        Ok(Lnet::put_acked(self, source, to, place.into(), payload, timeout).await?)
    }

    async fn get(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        place: Place,
        len: u32,
        timeout: Duration,
    ) -> Result<Payload, TransferError> {
        let Place { portal, match_bits, .. } = place;
        let (payload, _) = Lnet::get(self, source, to, portal, match_bits, len, timeout).await?;
        Ok(payload)
    }

    fn counters(&self) -> LnetCounters {
        let seen = self.statistics();
        let short = |count: u64| count as u32;
        LnetCounters {
            msgs_alloc: short(seen.msgs_alloc),
            msgs_max: short(seen.msgs_max),
            errors: short(seen.errors),
            send_count: short(seen.send_count),
            recv_count: short(seen.recv_count),
            route_count: short(seen.route_count),
            drop_count: short(seen.drop_count),
            send_length: seen.send_length,
            recv_length: seen.recv_length,
            route_length: seen.route_length,
            drop_length: seen.drop_length,
        }
    }
}
