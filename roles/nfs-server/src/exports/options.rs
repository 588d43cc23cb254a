//! The options in parentheses.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

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
    /// Who becomes anonymous.
    pub squash: Squash,
    /// The anonymous user.
    pub anon_uid: u32,
    /// The anonymous group.
    pub anon_gid: u32,
    /// Calls without identity are served as the anonymous user (`sec=none`).
    pub anonymous_calls: bool,
    /// READDIRPLUS is served (not `nordirplus`).
    pub readdirplus: bool,
    /// Number for handles and attributes (`fsid=`); `root` is 0.
    pub fsid: Option<u32>,
}

impl Default for ExportOptions {
    fn default() -> ExportOptions {
        ExportOptions {
            writable: false,
            sync: true,
            secure: true,
            squash: Squash::Root,
            anon_uid: 65_534,
            anon_gid: 65_534,
            anonymous_calls: false,
            readdirplus: true,
            fsid: None,
        }
    }
}

impl ExportOptions {
    /// Applies a comma-separated list; warnings are added to `warnings`.
    pub fn apply(mut self, list: &str, warnings: &mut Vec<String>) -> Result<ExportOptions, String> {
        for option in list.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            self.apply_one(option, name, value, warnings)?;
        }
        Ok(self)
    }

    fn apply_one(
        &mut self,
        option: &str,
        name: &str,
        value: Option<&str>,
        warnings: &mut Vec<String>,
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
            ("root_squash", None) => self.squash = Squash::Root,
            ("no_root_squash", None) => self.squash = Squash::Nobody,
            ("all_squash", None) => self.squash = Squash::All,
            ("no_all_squash", None) => {
                if self.squash == Squash::All {
                    self.squash = Squash::Root;
                }
            }
            ("anonuid", _) => self.anon_uid = number()?,
            ("anongid", _) => self.anon_gid = number()?,
            ("fsid", Some("root" | "0")) => self.fsid = Some(0),
            ("fsid", _) => self.fsid = Some(number()?),
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
            ("subtree_check", None) => warnings.push(
                "subtree_check is not enforced: file handles carry no path, so whoever guesses one reaches \
                 the whole volume"
                    .into(),
            ),
            ("mp" | "mountpoint" | "refer" | "replicas" | "fsloc" | "xprtsec", _)
            | ("pnfs" | "no_pnfs" | "security_label", None) => {
                warnings.push(format!("option '{name}' is not supported and has no effect"));
            }
            _ => return Err(format!("unknown option '{option}'")),
        }
        Ok(())
    }
}
