//! The options in parentheses.

use super::quota::QuotaRule;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What options of a line say besides what clients may do.
#[derive(Default)]
pub(super) struct Notes {
    /// What has no effect, or another one than expected.
    pub warnings: Vec<String>,
    /// Limits of users and groups.
    pub quotas: Vec<QuotaRule>,
}

/// Whose identity is replaced by the anonymous one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Squash {
    /// Nobody's.
    Nobody,
    /// That of uid 0 and gid 0.
    Root,
    /// Everybody's.
    All,
}

/// What a client may do with an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExportOptions {
    /// Changes are allowed (`rw`).
    pub writable: bool,
    /// Replies to changes wait for the disk (`sync`).
    pub sync: bool,
    /// Only ports below 1024 may call (`secure`).
    pub secure: bool,
    /// The superuser becomes anonymous (`root_squash`).
    pub root_squash: bool,
    /// Everybody does (`all_squash`), whatever `root_squash` says.
    pub all_squash: bool,
    /// The anonymous user.
    pub anon_uid: u32,
    /// The anonymous group.
    pub anon_gid: u32,
    /// Calls without identity are served as the anonymous user (`sec=none`).
    pub anonymous_calls: bool,
    /// READDIRPLUS is served (not `nordirplus`).
    pub readdirplus: bool,
    /// Number for handles and attributes (`fsid=`); `root` is 0, of a UUID it is both halves exclusive-ored.
    pub fsid: Option<u64>,
}

impl Default for ExportOptions {
    fn default() -> ExportOptions {
        ExportOptions {
            writable: false,
            sync: true,
            secure: true,
            root_squash: true,
            all_squash: false,
            anon_uid: 65_534,
            anon_gid: 65_534,
            anonymous_calls: false,
            readdirplus: true,
            fsid: None,
        }
    }
}

impl ExportOptions {
    /// Applies a comma-separated list; the rest of what it says is added to `notes`.
    pub(super) fn apply(mut self, list: &str, notes: &mut Notes) -> Result<ExportOptions, String> {
        for option in list.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            self.apply_one(option, name, value, notes)?;
        }
        Ok(self)
    }

    /// Who becomes anonymous.
    pub fn squash(&self) -> Squash {
        match (self.all_squash, self.root_squash) {
            (true, _) => Squash::All,
            (false, true) => Squash::Root,
            (false, false) => Squash::Nobody,
        }
    }

    fn apply_one(
        &mut self,
        option: &str,
        name: &str,
        value: Option<&str>,
        notes: &mut Notes,
    ) -> Result<(), String> {
        let number = || {
            let value = value.ok_or_else(|| format!("option '{name}' needs a number"))?;
            // -1 and -2 are how nobody is often written.
            let parsed = value.parse::<u32>().ok().or_else(|| value.parse::<i32>().ok().map(|id| id as u32));
            parsed.ok_or_else(|| format!("option '{option}': '{value}' is no number"))
        };
        match (name, value) {
            ("ro", None) => self.writable = false,
            ("rw", None) => self.writable = true,
            ("sync", None) => self.sync = true,
            ("async", None) => self.sync = false,
            ("secure", None) => self.secure = true,
            ("insecure", None) => self.secure = false,
            ("root_squash", None) => self.root_squash = true,
            ("no_root_squash", None) => self.root_squash = false,
            ("all_squash", None) => self.all_squash = true,
            ("no_all_squash", None) => self.all_squash = false,
            ("anonuid", _) => self.anon_uid = number()?,
            ("anongid", _) => self.anon_gid = number()?,
            ("fsid", Some("root" | "0")) => self.fsid = Some(0),
            ("fsid", Some(value)) if value.len() >= 32 => {
                self.fsid = Some(folded_uuid(value).ok_or_else(|| format!("option '{option}': no UUID"))?);
            }
            ("fsid", _) => self.fsid = Some(number()?.into()),
            ("uquota" | "gquota", _) => notes.quotas.push(QuotaRule::of_option(name, value)?),
            ("nordirplus", None) => self.readdirplus = false,
            ("sec", Some("sys")) => self.anonymous_calls = false,
            ("sec", Some("none" | "null" | "sys:none" | "none:sys")) => self.anonymous_calls = true,
            ("sec", _) => return Err(format!("option '{option}': only sec=sys and sec=none are served")),
            // Group commit makes the first pair pointless; there is one volume for each export; ACLs are not
            // served; anybody may be refused by port only.
            (
                "wdelay" | "no_wdelay" | "hide" | "nohide" | "crossmnt" | "no_subtree_check" | "no_acl"
                | "acl" | "auth_nlm" | "no_auth_nlm" | "secure_locks" | "insecure_locks",
                None,
            ) => {}
            ("subtree_check", None) => notes.warnings.push(
                "subtree_check is not enforced: file handles carry no path, so whoever guesses one reaches \
                 the whole volume"
                    .into(),
            ),
            ("mp" | "mountpoint" | "refer" | "replicas" | "fsloc" | "xprtsec", _)
            | ("pnfs" | "no_pnfs" | "security_label", None) => {
                notes.warnings.push(format!("option '{name}' is not supported and has no effect"));
            }
            _ => return Err(format!("unknown option '{option}'")),
        }
        Ok(())
    }
}

/// The two halves of a UUID, exclusive-ored; dashes and colons between its digits do not count.
fn folded_uuid(text: &str) -> Option<u64> {
    let mut digits = 0;
    let mut number = 0_u128;
    for letter in text.chars().filter(|letter| !matches!(letter, '-' | ':')) {
        number = number << 4 | u128::from(letter.to_digit(16)?);
        digits += 1;
    }
    (digits == 32).then_some((number >> 64) as u64 ^ number as u64)
}

impl fmt::Display for ExportOptions {
    /// All of them, in the words and the order of `exportfs -v` on Linux.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let either = |is: bool, yes: &'static str, no: &'static str| if is { yes } else { no };
        f.write_str(either(self.sync, "sync", "async"))?;
        f.write_str(",wdelay,hide,no_subtree_check")?;
        if !self.readdirplus {
            f.write_str(",nordirplus")?;
        }
        if let Some(fsid) = self.fsid {
            write!(f, ",fsid={fsid}")?;
        }
        let default = ExportOptions::default();
        if self.anon_uid != default.anon_uid {
            write!(f, ",anonuid={}", self.anon_uid)?;
        }
        if self.anon_gid != default.anon_gid {
            write!(f, ",anongid={}", self.anon_gid)?;
        }
        f.write_str(either(self.anonymous_calls, ",sec=sys:none", ",sec=sys"))?;
        f.write_str(either(self.writable, ",rw", ",ro"))?;
        f.write_str(either(self.secure, ",secure", ",insecure"))?;
        f.write_str(either(self.root_squash, ",root_squash", ",no_root_squash"))?;
        f.write_str(either(self.all_squash, ",all_squash", ",no_all_squash"))
    }
}
