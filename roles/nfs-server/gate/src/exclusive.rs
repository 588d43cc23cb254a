//! Names that processes of all machines use as locks, with exclusive CREATE: only one may have a name at a time.

use crate::files::nfs::{Done, How, Nfs, status};
use crate::ledger::Ledger;
use keelson_exec::Handle;
use keelson_ext4_gate::random::Random;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Names there are.
const NAMES: u64 = 3;

/// What is known of a name.
#[derive(Default)]
struct Known {
    /// A process has it.
    is_taken: bool,
    /// REMOVEs under way.
    removing: u32,
    /// Nobody knows any more who has it: a process died with it, or a REMOVE was under way when the server's power went,
    /// which may remove what another one made since when it is repeated (RFC 1813 section 4.5).
    is_lost: bool,
}

/// The names, as seen by the observer.
pub struct Exclusive {
    ledger: Rc<Ledger>,
    names: RefCell<BTreeMap<u64, Known>>,
}

/// Something under way; dropped before its end, the name is lost.
struct UnderWay<'a>(&'a Exclusive, u64);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.known(self.1, |known| known.is_lost = true);
    }
}

impl Exclusive {
    /// Free names.
    pub fn new(ledger: &Rc<Ledger>) -> Exclusive {
        Exclusive { ledger: ledger.clone(), names: RefCell::default() }
    }

    fn known<R>(&self, name: u64, act: impl FnOnce(&mut Known) -> R) -> R {
        act(self.names.borrow_mut().entry(name).or_default())
    }

    /// The server's power goes.
    pub fn cut(&self) {
        for known in self.names.borrow_mut().values_mut().filter(|known| known.removing > 0) {
            known.is_lost = true;
        }
    }

    /// Tries to take a name, has it for a while, and gives it up.
    pub async fn use_one(&self, handle: &Handle, nfs: &mut Nfs, root: &[u8], random: &RefCell<Random>) {
        let (name, verifier) = {
            let mut random = random.borrow_mut();
            (random.below(NAMES), random.number().to_be_bytes())
        };
        let text = format!("lock{name}");
        let under_way = UnderWay(self, name);
        let Done { result, .. } = nfs.create(root, &text, How::Exclusive(verifier)).await;
        self.ledger.note(|| format!("exclusive {text}: {:?}", result.as_ref().map(|_| ())));
        let is_mine = match result {
            Ok(handle) => {
                let (taken, lost) =
                    self.known(name, |known| (std::mem::replace(&mut known.is_taken, true), known.is_lost));
                if taken && !lost {
                    self.ledger.fail(format!("two processes made {text}"));
                }
                self.ledger.made(&handle);
                true
            }
            Err(status::EXIST) => false,
            Err(other) => {
                self.ledger.fail(format!("exclusive CREATE of {text}: status {other}"));
                false
            }
        };
        if is_mine {
            let micros = random.borrow_mut().below(30_000);
            handle.sleep(Duration::from_micros(micros)).await;
            self.known(name, |known| {
                known.is_taken = false;
                known.removing += 1;
            });
            let Done { result, cuts } = nfs.remove(root, &text).await;
            let lost = self.known(name, |known| {
                known.removing -= 1;
                known.is_lost
            });
            let repeated = cuts.is_none() && result == Err(status::NOENT);
            if result.is_err() && !repeated && !lost {
                self.ledger.fail(format!("REMOVE of {text}, which is ours: {result:?}"));
            }
        }
        std::mem::forget(under_way);
    }
}
