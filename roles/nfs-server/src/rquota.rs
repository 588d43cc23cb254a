//! RQUOTA, versions 1 and 2 (rquota.x of Linux's quota tools): tells users how much they have and may have. Quotas are
//! set in exports and enforced by the volume; nothing here changes them.
//!
//! A caller may ask for itself and its groups, as whom it would write here: squashed identities are told what the
//! anonymous one has. The superuser of a client may ask for everybody, where it is not made anonymous with all others
//! (`all_squash`). That is no secret kept from it: it can become any user there.

use crate::exports::{ExportOptions, Exports, Squash, normalise};
use crate::identity::Identity;
use crate::names::Names;
use crate::nfs3::FIRST_UNPRIVILEGED_PORT;
use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use keelson_oncrpc::{
    AuthSys, Call, Credential, DecodeError, Decoder, Encoder, Failure, Program, Reply, Service,
};
use keelson_volume::{Limit, Owner, OwnerUsage, Volume};

/// Program number of RQUOTA.
pub const RQUOTA_PROGRAM: u32 = 100_011;

/// Versions: 2 knows groups.
pub(crate) const VERSIONS: &[u32] = &[1, 2];

/// Longest path (`RQ_PATHLEN`).
const MAX_PATH: usize = 1024;

/// Least unit of space in answers, in bytes; larger ones are used where numbers of 32 bits would not do.
const UNIT: u64 = 1024;

/// Clients remembered as told in the log that they were refused.
const MAX_TOLD: usize = 1024;

/// `gqr_status`.
mod status {
    pub const OK: u32 = 1;
    pub const NO_QUOTA: u32 = 2;
    pub const NO_PERMISSION: u32 = 3;
}

/// What was asked and answered.
#[derive(Clone, Default, Debug)]
pub struct RquotaCounters {
    /// Answered with numbers.
    pub answered: Cell<u64>,
    /// Asked where there are no quotas.
    pub no_quota: Cell<u64>,
    /// Asked by somebody who may not know, or asked to change something.
    pub refused: Cell<u64>,
}

/// The program.
pub(crate) struct Rquota<V, N> {
    volume: Rc<V>,
    exports: Rc<Exports<N>>,
    told: RefCell<BTreeSet<IpAddr>>,
    pub counters: RquotaCounters,
}

enum Answer {
    Quota(Limit, OwnerUsage),
    NoQuota,
    Refused(&'static str),
}

impl<V: Volume + 'static, N: Names> Rquota<V, N> {
    pub fn new(volume: Rc<V>, exports: Rc<Exports<N>>) -> Rquota<V, N> {
        Rquota { volume, exports, told: RefCell::default(), counters: RquotaCounters::default() }
    }

    async fn answer(&self, call: &Call<'_>, path: &[u8], asked: Owner) -> Result<Answer, Failure> {
        let Credential::Sys(credential) = &call.credential else {
            return Ok(Answer::Refused("no identity"));
        };
        let path = if path.is_empty() { b"/" } else { path };
        let Some(path) = core::str::from_utf8(path).ok().and_then(normalise) else {
            return Ok(Answer::Refused("not an absolute path without '..'"));
        };
        let covering = self.exports.covering(&path);
        if covering.is_empty() {
            return Ok(Answer::Refused("no export entry"));
        }
        for export in covering {
            let Some(options) = self.exports.options_for(&export, call.origin.peer.ip()).await else {
                continue;
            };
            return match effective(credential, &options, call.origin.peer.port(), asked) {
                Some(owner) => self.quota_of(owner),
                None => Ok(Answer::Refused("somebody else's quota")),
            };
        }
        Ok(Answer::Refused("unmatched host"))
    }

    fn quota_of(&self, owner: Owner) -> Result<Answer, Failure> {
        let limits = self.volume.limits();
        let table = match owner {
            Owner::User(_) => &limits.users,
            Owner::Group(_) => &limits.groups,
        };
        if table.is_empty() {
            return Ok(Answer::NoQuota);
        }
        // Not known while it is counted: no number would be true.
        let usage = self.volume.usage_of(owner).ok_or(Failure::SystemError)?;
        Ok(Answer::Quota(limits.of(owner), usage))
    }

    fn put(&self, call: &Call<'_>, path: &[u8], answer: Answer, out: &mut Encoder) {
        let count = |counter: &Cell<u64>| counter.set(counter.get() + 1);
        match answer {
            Answer::Quota(limit, usage) => {
                count(&self.counters.answered);
                out.u32(status::OK);
                quota_words(limit, usage).into_iter().for_each(|word| out.u32(word));
            }
            Answer::NoQuota => {
                count(&self.counters.no_quota);
                out.u32(status::NO_QUOTA);
            }
            Answer::Refused(reason) => {
                count(&self.counters.refused);
                let client = call.origin.peer.ip().to_canonical();
                let mut told = self.told.borrow_mut();
                if told.len() >= MAX_TOLD {
                    told.clear();
                }
                if told.insert(client) {
                    let shown = String::from_utf8_lossy(path);
                    let shown = shown.escape_debug();
                    log::warn!(target: "rquota", "refused {client} asking for quotas of {shown}: {reason}");
                }
                out.u32(status::NO_PERMISSION);
            }
        }
    }
}

/// Whose quota a caller is told who asks for `asked`; `None` when it may not know.
fn effective(credential: &AuthSys<'_>, options: &ExportOptions, port: u16, asked: Owner) -> Option<Owner> {
    let is_own = match asked {
        Owner::User(uid) => uid == credential.uid,
        Owner::Group(gid) => gid == credential.gid || credential.groups().contains(&gid),
    };
    if is_own {
        let identity = Identity::of(credential, options);
        let is_squashed = |id| options.squash() == Squash::All || options.squash() == Squash::Root && id == 0;
        return Some(match asked {
            Owner::User(_) => Owner::User(identity.uid),
            Owner::Group(gid) if is_squashed(gid) => Owner::Group(options.anon_gid),
            own => own,
        });
    }
    // Anybody can claim to be the superuser, but not at such a port.
    let is_root = credential.uid == 0
        && options.squash() != Squash::All
        && (!options.secure || port < FIRST_UNPRIVILEGED_PORT);
    is_root.then_some(asked)
}

/// `rquota`: unit, active, then limit, soft limit and use of space and of inodes, and the times left above the soft
/// limits. There are none, so there is no time left either. Limits are enforced: they are active.
fn quota_words(limit: Limit, usage: OwnerUsage) -> [u32; 10] {
    let mut unit = UNIT;
    while limit.bytes.unwrap_or(0).max(usage.bytes).div_ceil(unit) > u64::from(u32::MAX) {
        unit *= 2;
    }
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    // 0 would say that there is no limit.
    let bound = |limit: Option<u64>, unit: u64| limit.map_or(0, |limit| number((limit / unit).max(1)));
    let space = [bound(limit.bytes, unit), 0, number(usage.bytes.div_ceil(unit))];
    let inodes = [bound(limit.inodes, 1), 0, number(usage.inodes)];
    let active = 1;
    [number(unit), active, space[0], space[1], space[2], inodes[0], inodes[1], inodes[2], 0, 0]
}

/// The arguments of GETQUOTA: a path and whose quota.
fn arguments<'a>(version: u32, input: &mut Decoder<'a>) -> Result<(&'a [u8], Owner), DecodeError> {
    let path = input.opaque(MAX_PATH)?;
    let kind = if version == 1 { 0 } else { input.u32()? };
    let id = input.u32()?;
    match kind {
        0 => Ok((path, Owner::User(id))),
        1 => Ok((path, Owner::Group(id))),
        other => Err(DecodeError::BadValue(other)),
    }
}

impl<V: Volume + 'static, N: Names> Service for Rquota<V, N> {
    fn programs(&self) -> &[Program] {
        &[Program { number: RQUOTA_PROGRAM, versions: VERSIONS }]
    }

    async fn call(&self, call: &Call<'_>, mut input: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        match call.procedure {
            // Quotas are always active where there are any.
            1 | 2 => {
                let (path, asked) = arguments(call.version, &mut input)?;
                let answer = self.answer(call, path, asked).await?;
                self.put(call, path, answer, reply.results());
            }
            3 | 4 => {
                let refused = Answer::Refused("quotas are set in the server's exports only");
                self.put(call, b"", refused, reply.results());
            }
            _ => return Err(Failure::ProcedureUnavailable),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(squash: Squash) -> ExportOptions {
        ExportOptions {
            root_squash: squash == Squash::Root,
            all_squash: squash == Squash::All,
            ..ExportOptions::default()
        }
    }

    #[test]
    fn everybody_may_ask_for_themselves() {
        let user = AuthSys::new(b"", 7, 8, &[9]);
        let ask = |squash, asked| effective(&user, &options(squash), 40_000, asked);
        assert_eq!(ask(Squash::Root, Owner::User(7)), Some(Owner::User(7)));
        assert_eq!(ask(Squash::Root, Owner::Group(8)), Some(Owner::Group(8)));
        assert_eq!(ask(Squash::Root, Owner::Group(9)), Some(Owner::Group(9)));
        for foreign in [Owner::User(8), Owner::Group(7), Owner::User(0)] {
            assert_eq!(ask(Squash::Nobody, foreign), None, "{foreign:?}");
        }
        assert_eq!(ask(Squash::All, Owner::User(7)), Some(Owner::User(65_534)));
        assert_eq!(ask(Squash::All, Owner::Group(9)), Some(Owner::Group(65_534)));
    }

    #[test]
    fn the_superuser_may_ask_for_all_from_a_port_of_its_own() {
        let root = AuthSys::new(b"", 0, 0, &[]);
        let ask = |squash, port, asked| effective(&root, &options(squash), port, asked);
        assert_eq!(ask(Squash::Root, 1023, Owner::User(7)), Some(Owner::User(7)));
        assert_eq!(ask(Squash::Root, 1024, Owner::User(7)), None);
        assert_eq!(ask(Squash::Root, 1023, Owner::User(0)), Some(Owner::User(65_534)));
        assert_eq!(ask(Squash::Nobody, 1023, Owner::User(0)), Some(Owner::User(0)));
        assert_eq!(ask(Squash::All, 1023, Owner::User(7)), None);
        let insecure = ExportOptions { secure: false, ..ExportOptions::default() };
        assert_eq!(effective(&root, &insecure, 40_000, Owner::Group(7)), Some(Owner::Group(7)));
    }

    #[test]
    fn numbers_are_true_whatever_their_size() {
        let limit = |bytes, inodes| Limit { bytes, inodes };
        let usage = |bytes, inodes| OwnerUsage { bytes, inodes };
        let found = quota_words(limit(Some(10 << 20), Some(100)), usage(4097, 3));
        assert_eq!(found, [1024, 1, 10_240, 0, 5, 100, 0, 3, 0, 0]);
        assert_eq!(quota_words(Limit::NONE, usage(0, 0)), [1024, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(quota_words(limit(Some(1), None), usage(0, 0))[2], 1, "a limit is no absence of one");
        let huge = quota_words(limit(Some(1 << 44), None), usage(1 << 43, u64::MAX));
        assert_eq!((huge[0], huge[2], huge[4], huge[7]), (8192, 1 << 31, 1 << 30, u32::MAX));
    }
}
