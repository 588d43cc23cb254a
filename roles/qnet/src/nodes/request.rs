//! What local tasks wait for: a name, a sign of life, a number.

use crate::sessions::NodeNr;
use alloc::vec::Vec;
use core::task::Waker;
use keelson_qnet_wire::Errno;

/// A request that was begun.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RequestId {
    slot: u16,
    made: u64,
}

enum State {
    Waiting(Option<Waker>),
    Done(Result<u32, Errno>),
}

/// Most requests at a time.
const MAX: usize = 256;

/// Requests without an answer, and answers nobody has taken.
#[derive(Default)]
pub struct Requests {
    slots: Vec<Option<(u64, State)>>,
    made: u64,
    /// Who waits for a sign of life of which node.
    pub(super) signs: Vec<(NodeNr, RequestId)>,
}

impl Requests {
    /// A new request; EAGAIN when there are too many.
    pub fn open(&mut self) -> Result<RequestId, Errno> {
        let free = self.slots.iter().position(Option::is_none);
        let slot = match free {
            Some(slot) => slot,
            None if self.slots.len() >= MAX => return Err(Errno::EAGAIN),
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        self.made += 1;
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some((self.made, State::Waiting(None)));
        }
        Ok(RequestId { slot: slot as u16, made: self.made })
    }

    fn get(&mut self, id: RequestId) -> Option<&mut State> {
        let (made, state) = self.slots.get_mut(usize::from(id.slot))?.as_mut()?;
        (*made == id.made).then_some(state)
    }

    /// The answer is there.
    pub fn complete(&mut self, id: RequestId, result: Result<u32, Errno>) {
        let Some(state) = self.get(id) else { return };
        if let State::Waiting(waker) = state {
            let waker = waker.take();
            *state = State::Done(result);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Takes the answer if it is there; else `waker` is called when it is. ENOREMOTE for what does not exist.
    pub fn poll(&mut self, id: RequestId, waker: Option<&Waker>) -> Option<Result<u32, Errno>> {
        let Some(state) = self.get(id) else { return Some(Err(Errno::ENOREMOTE)) };
        match state {
            State::Waiting(known) => {
                if let Some(waker) = waker {
                    *known = Some(waker.clone());
                }
                None
            }
            State::Done(result) => {
                let result = *result;
                self.close(id);
                Some(result)
            }
        }
    }

    /// Nobody waits any more.
    pub fn close(&mut self, id: RequestId) {
        if self.get(id).is_some()
            && let Some(slot) = self.slots.get_mut(usize::from(id.slot))
        {
            *slot = None;
        }
        self.signs.retain(|(_, known)| *known != id);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// All that waits fails.
    pub fn fail_all(&mut self, errno: Errno) {
        let ids = self.slots.iter().enumerate();
        let ids: Vec<RequestId> = ids
            .filter_map(|(slot, entry)| {
                entry.as_ref().map(|(made, _)| RequestId { slot: slot as u16, made: *made })
            })
            .collect();
        for id in ids {
            self.complete(id, Err(errno));
        }
        self.signs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_of_a_request() {
        let mut requests = Requests::default();
        let one = requests.open().unwrap();
        assert_eq!(requests.poll(one, Some(Waker::noop())), None);
        requests.complete(one, Ok(7));
        requests.complete(one, Ok(8));
        assert_eq!(requests.poll(one, None), Some(Ok(7)));
        assert_eq!(requests.poll(one, None), Some(Err(Errno::ENOREMOTE)), "taken once");
        let two = requests.open().unwrap();
        assert_ne!(one, two, "same slot, another request");
        requests.complete(one, Ok(9));
        requests.fail_all(Errno::EINTR);
        assert_eq!(requests.poll(two, None), Some(Err(Errno::EINTR)));
        assert_eq!(requests.len(), 0);
    }

    #[test]
    fn bounded() {
        let mut requests = Requests::default();
        let opened: Vec<_> = (0..300).map_while(|_| requests.open().ok()).collect();
        assert_eq!(opened.len(), MAX);
        assert_eq!(requests.open(), Err(Errno::EAGAIN));
        requests.close(opened[17]);
        assert!(requests.open().is_ok());
    }
}
