//! Where the appliance answers otherwise than Linux's server, and why.

/// A question, what the appliance answers, and what Linux answers.
pub type Difference = (&'static str, &'static str, &'static str);

/// A user who changes the length of a file takes away its set-user-ID and set-group-ID, as on a local file system and as a
/// write over NFS does; Linux's server leaves them when the length comes by SETATTR. A program that anybody may
/// truncate should not keep its powers, so the appliance is right to differ.
const LENGTH: [Difference; 16] = [
    ("modes, 2777 after open O_TRUNC by somebody", "ok, 100777 1000 1000", "ok, 102777 1000 1000"),
    ("modes, 2777 after open O_TRUNC by the owner", "ok, 100777 1000 1000", "ok, 102777 1000 1000"),
    ("modes, 2777 after truncate by somebody", "ok, 100777 1000 1000", "ok, 102777 1000 1000"),
    ("modes, 2777 after truncate by the owner", "ok, 100777 1000 1000", "ok, 102777 1000 1000"),
    ("modes, 4777 after open O_TRUNC by somebody", "ok, 100777 1000 1000", "ok, 104777 1000 1000"),
    ("modes, 4777 after open O_TRUNC by the owner", "ok, 100777 1000 1000", "ok, 104777 1000 1000"),
    ("modes, 4777 after truncate by somebody", "ok, 100777 1000 1000", "ok, 104777 1000 1000"),
    ("modes, 4777 after truncate by the owner", "ok, 100777 1000 1000", "ok, 104777 1000 1000"),
    ("modes, 6666 after open O_TRUNC by somebody", "ok, 102666 1000 1000", "ok, 106666 1000 1000"),
    ("modes, 6666 after open O_TRUNC by the owner", "ok, 102666 1000 1000", "ok, 106666 1000 1000"),
    ("modes, 6666 after truncate by somebody", "ok, 102666 1000 1000", "ok, 106666 1000 1000"),
    ("modes, 6666 after truncate by the owner", "ok, 102666 1000 1000", "ok, 106666 1000 1000"),
    ("modes, 6777 after open O_TRUNC by somebody", "ok, 100777 1000 1000", "ok, 106777 1000 1000"),
    ("modes, 6777 after open O_TRUNC by the owner", "ok, 100777 1000 1000", "ok, 106777 1000 1000"),
    ("modes, 6777 after truncate by somebody", "ok, 100777 1000 1000", "ok, 106777 1000 1000"),
    ("modes, 6777 after truncate by the owner", "ok, 100777 1000 1000", "ok, 106777 1000 1000"),
];

/// Set-group-ID without group execution is no privilege but once was a mark for mandatory locking. Linux leaves it when a
/// member of the group writes; the appliance removes both bits on every write by anybody but root, which takes too much
/// rather than too little.
const WRITE: [Difference; 4] = [
    ("modes, 2767 after append by the owner", "ok, 100767 1000 1000", "ok, 102767 1000 1000"),
    ("modes, 2767 after write by the owner", "ok, 100767 1000 1000", "ok, 102767 1000 1000"),
    ("modes, 6666 after append by the owner", "ok, 100666 1000 1000", "ok, 102666 1000 1000"),
    ("modes, 6666 after write by the owner", "ok, 100666 1000 1000", "ok, 102666 1000 1000"),
];

/// All of them.
pub fn known() -> Vec<Difference> {
    [&LENGTH[..], &WRITE].concat()
}
