//! What a machine answers the server: rpcbind, its lock manager, its status monitor.

use super::lockd::Lockd;
use super::nlm::{oh, procedure, status};
use crate::machine::Machine;
use keelson_nfs_server::{NLM_PROGRAM, NSM_PROGRAM, RPCBIND_PROGRAM};
use keelson_oncrpc::{Call, Decoder, Failure, Program, Repetition, Reply, Service};
use std::rc::Rc;

/// Where the lock manager is.
pub const LOCKD_PORT: u16 = 4045;
/// Where the status monitor is.
pub const STATD_PORT: u16 = 4046;

/// Which lock managers there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Knows GRANTED_MSG, and answers with GRANTED_RES.
    Messages,
    /// Knows GRANTED only.
    Replies,
}

/// Whether a lock manager knows calls that it executed already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeats {
    /// It answers them as it did the first time.
    Known,
    /// It executes them again, as Linux's does.
    Unknown,
}

/// All programs of a machine.
pub struct Programs {
    /// The machine.
    pub machine: Rc<Machine>,
    /// Its lock manager of this boot.
    pub lockd: Rc<Lockd>,
    /// Whether it knows repeated callbacks.
    pub repeats: Repeats,
}

impl Service for Programs {
    fn programs(&self) -> &[Program] {
        &[
            Program { number: RPCBIND_PROGRAM, versions: &[2] },
            Program { number: NLM_PROGRAM, versions: &[4] },
            Program { number: NSM_PROGRAM, versions: &[1] },
        ]
    }

    fn repetition(&self, call: &Call<'_>) -> Repetition {
        match (call.program, self.repeats) {
            (NLM_PROGRAM, Repeats::Known) => Repetition::Wrong,
            _ => Repetition::Harmless,
        }
    }

    async fn call(&self, call: &Call<'_>, mut input: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        match (call.program, call.procedure) {
            (RPCBIND_PROGRAM, 3) => {
                let port = match input.u32()? {
                    NLM_PROGRAM => LOCKD_PORT,
                    NSM_PROGRAM => STATD_PORT,
                    _ => 0,
                };
                reply.results().u32(port.into());
            }
            (NLM_PROGRAM, procedure::GRANTED_MSG) if self.machine.style == Style::Messages => {
                let (cookie, status) = self.granted(call, input)?;
                self.machine.answer_callback(cookie, status);
            }
            (NLM_PROGRAM, procedure::GRANTED) => {
                let (cookie, status) = self.granted(call, input)?;
                reply.results().opaque(&cookie);
                reply.results().u32(status);
            }
            (NSM_PROGRAM, 6) => {
                let (name, state) = (input.opaque(1024)?, input.u32()?);
                input.finish()?;
                self.machine.expect_server(call.origin.peer, "SM_NOTIFY");
                self.machine.server_restarted(&self.lockd, name, state);
            }
            _ => return Err(Failure::ProcedureUnavailable),
        }
        Ok(())
    }
}

impl Programs {
    fn granted(&self, call: &Call<'_>, mut input: Decoder<'_>) -> Result<(Vec<u8>, u32), Failure> {
        let cookie = input.opaque(1024)?.to_vec();
        let exclusive = input.bool()?;
        let (name, handle, found) = (input.opaque(1024)?, input.opaque(1024)?, input.opaque(1024)?);
        let (owner, range) = (input.u32()?, (input.u64()?, input.u64()?));
        input.finish()?;
        self.machine.expect_server(call.origin.peer, "a callback");
        if name != self.lockd.name.as_bytes() || found != oh(&self.lockd.name, owner).as_bytes() {
            self.machine.ledger.fail(format!("a callback for the owner {found:02x?} of {name:02x?}"));
            return Ok((cookie, status::DENIED));
        }
        Ok((cookie, self.lockd.called_back(handle, owner, range, exclusive)))
    }
}
