//! The task of each host that is called: answers first, then callbacks when they are due.

use super::callbacks::{AFTER_FAILURE, Answer, Callbacks, Waiting, encoded};
use super::wire::{Lock, Res, TestArgs, procedure};
use super::{NLM_PROGRAM, NlmCounters};
use crate::locks::WaiterId;
use crate::peer_calls::{PeerCall, PeerCallError, Silence};
use alloc::rc::Rc;
use core::net::IpAddr;
use core::time::Duration;
use keelson_exec::sync::Notify;
use keelson_exec::{Either, select};
use keelson_hal::Instant;
use keelson_oncrpc::Decoder;
use keelson_oncrpc::client::Patience;

/// One that was received, but whose result did not come.
const AFTER_SILENCE: Duration = Duration::from_secs(60);
/// Failures until callbacks are repeated only as often as those without result.
const PATIENT_TRIES: u32 = 30;
/// A callback that the host cannot have seen is withdrawn after this long. Longer than the 30 seconds after
/// which clients ask again by themselves (Linux: `NLMCLNT_POLL_TIMEOUT`).
const WITHDRAW_AFTER: Duration = Duration::from_secs(60);

/// One try of a callback.
const CALL: Patience = Patience { retry: Duration::from_secs(1), total: Duration::from_secs(10) };
/// An answer in message form: who misses it asks again.
const ANSWER: Patience = Patience { retry: Duration::from_secs(1), total: Duration::from_secs(5) };

/// What a host's task does next.
enum Next {
    Answer(Answer),
    Callback(WaiterId),
    Wait(Instant, Rc<Notify>),
    End,
}

impl Callbacks {
    pub(super) async fn tell(self: Rc<Self>, host: IpAddr) {
        loop {
            match self.next(host) {
                Next::Answer(answer) => self.send_answer(host, answer).await,
                Next::Callback(waiter) => self.call_back(waiter).await,
                Next::Wait(due, changed) => {
                    let _: Either<(), ()> = select(changed.notified(), self.handle.sleep_until(due)).await;
                }
                Next::End => return,
            }
        }
    }

    fn next(&self, host: IpAddr) -> Next {
        let mut lanes = self.lanes.borrow_mut();
        let Some(lane) = lanes.get_mut(&host) else { return Next::End };
        if let Some(answer) = lane.answers.pop_front() {
            return Next::Answer(answer);
        }
        while let Some((due, waiter)) = lane.callbacks.first().copied() {
            let mut waiting = self.waiting.borrow_mut();
            let callback = waiting.get_mut(&waiter).and_then(|request| request.callback.as_mut());
            match callback {
                Some(_) if due > self.handle.now() => return Next::Wait(due, lane.changed.clone()),
                Some(callback) => {
                    callback.due = None;
                    lane.callbacks.pop_first();
                    return Next::Callback(waiter);
                }
                None => drop(lane.callbacks.pop_first()),
            }
        }
        lanes.remove(&host);
        Next::End
    }

    async fn send_answer(&self, host: IpAddr, answer: Answer) {
        let call = PeerCall {
            peer: host,
            local: answer.local,
            target: [NLM_PROGRAM, answer.version.number(), answer.procedure],
            arguments: answer.arguments,
            patience: ANSWER,
            silence: Silence::Switch,
        };
        if let Err(error) = self.calls.call(call).await {
            NlmCounters::count(&self.counters.answers_lost);
            log::debug!(target: "lockd", "an answer did not reach {host}: {}", error.reason());
        }
    }

    async fn call_back(self: &Rc<Self>, waiter: WaiterId) {
        if self.table.borrow().open_grant(waiter).is_none() {
            // It asked again meanwhile, unlocked, or was released.
            return self.forget(waiter);
        }
        let Some(call) = self.granted_call(waiter, procedure::GRANTED_MSG) else { return };
        let host = call.peer;
        NlmCounters::count(&self.counters.callbacks);
        match self.calls.call(call).await {
            Ok(_) => {
                self.saw(waiter);
                self.again(host, waiter, AFTER_SILENCE);
            }
            Err(PeerCallError::NoProcedure) => self.call_back_synchronously(waiter).await,
            Err(error) => self.failed(host, waiter, error),
        }
    }

    /// For hosts that know no message form: the answer is the reply.
    async fn call_back_synchronously(self: &Rc<Self>, waiter: WaiterId) {
        let Some(call) = self.granted_call(waiter, procedure::GRANTED) else { return };
        let host = call.peer;
        match self.calls.call(call).await {
            Ok(results) => {
                self.saw(waiter);
                if let Ok(Res { cookie, status }) = Res::decode(Decoder::new(&results)) {
                    self.answered(host, cookie, status);
                }
                self.again(host, waiter, AFTER_SILENCE);
            }
            Err(error) => self.failed(host, waiter, error),
        }
    }

    /// The call that tells of a lock: all of the request, byte for byte, from the address it was sent to.
    fn granted_call(&self, waiter: WaiterId, procedure: u32) -> Option<PeerCall> {
        let waiting = self.waiting.borrow();
        let request = waiting.get(&waiter)?;
        let cookie = self.cookie_base.wrapping_add(waiter.number()).to_be_bytes();
        let lock = Lock {
            caller_name: &request.caller_name,
            file: &request.file,
            owner: &request.owner,
            svid: request.svid,
            offset: request.offset,
            length: request.length,
        };
        let args = TestArgs { cookie: &cookie, exclusive: request.exclusive, lock };
        Some(PeerCall {
            peer: request.host,
            local: request.local,
            target: [NLM_PROGRAM, request.version.number(), procedure],
            arguments: encoded(|out| args.encode(request.version, out)),
            patience: CALL,
            silence: Silence::Switch,
        })
    }

    fn saw(&self, waiter: WaiterId) {
        if let Some(Waiting { callback: Some(callback), .. }) = self.waiting.borrow_mut().get_mut(&waiter) {
            callback.seen = true;
        }
    }

    /// Calls again later, if the host did not answer while it was called.
    fn again(self: &Rc<Self>, host: IpAddr, waiter: WaiterId, after: Duration) {
        let is_settled = match self.waiting.borrow().get(&waiter) {
            Some(Waiting { callback: Some(callback), .. }) => callback.due.is_some(),
            _ => true,
        };
        if !is_settled {
            self.schedule(host, waiter, self.handle.now() + after);
        }
    }

    fn failed(self: &Rc<Self>, host: IpAddr, waiter: WaiterId, error: PeerCallError) {
        NlmCounters::count(&self.counters.callbacks_failed);
        let now = self.handle.now();
        let callback = {
            let mut waiting = self.waiting.borrow_mut();
            let Some(Waiting { callback: Some(callback), .. }) = waiting.get_mut(&waiter) else { return };
            callback.failures += 1;
            callback.seen |= !error.was_not_executed();
            *callback
        };
        let reason = error.reason();
        if callback.failures == 1 {
            log::warn!(target: "lockd", "{host} was not told that a lock is free: {reason}; trying again");
        }
        if !callback.seen && now - callback.granted >= WITHDRAW_AFTER {
            NlmCounters::count(&self.counters.withdrawn);
            log::warn!(target: "lockd", "{host} cannot be told that a lock is free: {reason}; given to the next");
            self.refuse(waiter);
            return;
        }
        let after = if callback.failures < PATIENT_TRIES { AFTER_FAILURE } else { AFTER_SILENCE };
        self.again(host, waiter, after);
    }
}
