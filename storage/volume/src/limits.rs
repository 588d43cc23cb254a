//! Quotas: what users and groups have, and how much they may.
//!
//! A volume counts space and inodes by owner and refuses what would bring an owner above its limit, exactly: what
//! is reserved for data that is not on the disk yet counts as well. It does so only inside
//! [`Volume::limited`](crate::Volume::limited), which servers put around what ordinary callers ask for. Outside of
//! it nobody is stopped, as nobody stops the superuser on Linux (`CAP_SYS_RESOURCE`, quotactl(2)).

use crate::VolumeError;
use alloc::collections::BTreeMap;
use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// Somebody who has objects: an object counts for its user and for its group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Owner {
    /// A user.
    User(u32),
    /// A group.
    Group(u32),
}

/// What an owner has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnerUsage {
    /// Space in bytes: allocated, or reserved for data that was accepted.
    pub bytes: u64,
    /// Objects of all types.
    pub inodes: u64,
}

/// How much an owner may have; `None`: as much as there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limit {
    /// Space in bytes.
    pub bytes: Option<u64>,
    /// Objects of all types.
    pub inodes: Option<u64>,
}

impl Limit {
    /// No limit at all.
    pub const NONE: Limit = Limit { bytes: None, inodes: None };

    /// True when there may be so much.
    pub fn allows_bytes(&self, bytes: u64) -> bool {
        self.bytes.is_none_or(|limit| bytes <= limit)
    }

    /// True when there may be so many.
    pub fn allows_inodes(&self, inodes: u64) -> bool {
        self.inodes.is_none_or(|limit| inodes <= limit)
    }
}

/// Limits of users, or of groups.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LimitTable {
    /// Of everybody who has no limit of their own, number 0 excepted: that is the system's.
    pub default: Limit,
    /// Of single users or groups. Number 0 has one only here.
    pub single: BTreeMap<u32, Limit>,
}

impl LimitTable {
    /// How much `id` may have.
    pub fn of(&self, id: u32) -> Limit {
        match self.single.get(&id) {
            Some(limit) => *limit,
            None if id == 0 => Limit::NONE,
            None => self.default,
        }
    }

    /// True when nobody has a limit.
    pub fn is_empty(&self) -> bool {
        self.default == Limit::NONE && self.single.values().all(|limit| *limit == Limit::NONE)
    }
}

/// All limits of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Of users.
    pub users: LimitTable,
    /// Of groups.
    pub groups: LimitTable,
}

impl Limits {
    /// How much an owner may have.
    pub fn of(&self, owner: Owner) -> Limit {
        match owner {
            Owner::User(id) => self.users.of(id),
            Owner::Group(id) => self.groups.of(id),
        }
    }

    /// True when nobody has a limit.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }
}

/// Tells a volume whether the operation that is running now is limited: what [`Volume::limited`] of most volumes is
/// made of.
///
/// The mark is set while the operation's future is polled and not between, when others have their turn.
///
/// [`Volume::limited`]: crate::Volume::limited
#[derive(Debug, Default)]
pub struct LimitedScope(Cell<bool>);

impl LimitedScope {
    /// True inside of [`LimitedScope::run`].
    pub fn is_on(&self) -> bool {
        self.0.get()
    }

    /// Runs an operation with the mark set.
    pub async fn run<T>(
        &self,
        operation: impl Future<Output = Result<T, VolumeError>>,
    ) -> Result<T, VolumeError> {
        let operation = core::pin::pin!(operation);
        Limited { mark: &self.0, operation }.await
    }
}

struct Limited<'a, F> {
    mark: &'a Cell<bool>,
    operation: Pin<&'a mut F>,
}

impl<F: Future> Future for Limited<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = self.mark.replace(true);
        let polled = self.operation.as_mut().poll(context);
        self.mark.set(before);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::task::Waker;

    #[test]
    fn single_limits_come_before_the_default_which_is_not_for_the_system() {
        let small = Limit { bytes: Some(10), inodes: None };
        let large = Limit { bytes: Some(100), inodes: Some(5) };
        let table = LimitTable { default: small, single: BTreeMap::from([(7, large), (8, Limit::NONE)]) };
        assert_eq!([0, 1, 7, 8].map(|id| table.of(id)), [Limit::NONE, small, large, Limit::NONE]);
        let limits = Limits { users: LimitTable::default(), groups: table };
        assert_eq!((limits.of(Owner::User(7)), limits.of(Owner::Group(7))), (Limit::NONE, large));
        assert!(!limits.is_empty() && limits.users.is_empty());
        let nothing = LimitTable { default: Limit::NONE, single: BTreeMap::from([(8, Limit::NONE)]) };
        assert!(nothing.is_empty());
        assert!(large.allows_bytes(100) && !large.allows_bytes(101));
        assert!(large.allows_inodes(5) && !large.allows_inodes(6) && small.allows_inodes(u64::MAX));
    }

    #[test]
    fn the_mark_is_set_only_while_the_operation_runs() {
        let scope = LimitedScope::default();
        let mut turns = 0;
        let operation = core::future::poll_fn(|_| {
            assert!(scope.is_on());
            turns += 1;
            if turns < 3 { Poll::Pending } else { Poll::Ready(Ok(turns)) }
        });
        let mut running = core::pin::pin!(scope.run(operation));
        let mut context = Context::from_waker(Waker::noop());
        let result = loop {
            assert!(!scope.is_on());
            if let Poll::Ready(result) = running.as_mut().poll(&mut context) {
                break result;
            }
        };
        assert_eq!(result, Ok(3));
        assert!(!scope.is_on());
    }
}
