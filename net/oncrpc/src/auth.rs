//! Credentials: AUTH_NONE and AUTH_SYS (RFC 5531 sections 8.2, 9 and appendix A).

use crate::xdr::{DecodeError, Decoder, Encoder};

/// Longest credential or verifier body.
pub const MAX_AUTH_BODY: usize = 400;
/// Longest machine name in AUTH_SYS.
pub const MAX_MACHINE_NAME: usize = 255;
/// Most supplementary groups in AUTH_SYS.
pub const MAX_GROUPS: usize = 16;

/// Authentication flavour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flavor(pub u32);

impl Flavor {
    /// No identity.
    pub const NONE: Flavor = Flavor(0);
    /// Numeric user and groups, as the client claims them.
    pub const SYS: Flavor = Flavor(1);
    /// Short-hand for an earlier credential; never handed out here.
    pub const SHORT: Flavor = Flavor(2);
    /// Kerberos and friends.
    pub const GSS: Flavor = Flavor(6);
}

/// Why a call was refused for its credential (RFC 5531 section 9, `auth_stat`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum AuthStat {
    /// The credential does not parse, or its flavour is not served.
    BadCredential = 1,
    /// The client must begin a new session.
    RejectedCredential = 2,
    /// The verifier does not parse.
    BadVerifier = 3,
    /// The verifier is expired or replayed.
    RejectedVerifier = 4,
    /// The flavour is too weak for what was asked.
    TooWeak = 5,
    /// The response verifier is bogus.
    InvalidResponse = 6,
    /// Reason unknown.
    Failed = 7,
}

/// An AUTH_SYS credential. Everything in it is the client's claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthSys<'a> {
    /// Chosen by the client, without meaning here.
    pub stamp: u32,
    /// The client's host name, raw.
    pub machine_name: &'a [u8],
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    groups: [u32; MAX_GROUPS],
    group_count: usize,
}

impl<'a> AuthSys<'a> {
    /// A credential; groups beyond [`MAX_GROUPS`] are left out, as every client does.
    pub fn new(machine_name: &'a [u8], uid: u32, gid: u32, groups: &[u32]) -> AuthSys<'a> {
        let group_count = groups.len().min(MAX_GROUPS);
        let mut kept = [0; MAX_GROUPS];
        kept[..group_count].copy_from_slice(&groups[..group_count]);
        AuthSys { stamp: 0, machine_name, uid, gid, groups: kept, group_count }
    }

    /// Supplementary groups.
    pub fn groups(&self) -> &[u32] {
        &self.groups[..self.group_count]
    }

    /// Parses a credential body, which must be consumed exactly.
    pub fn parse(body: &'a [u8]) -> Result<AuthSys<'a>, DecodeError> {
        let mut input = Decoder::new(body);
        let stamp = input.u32()?;
        let machine_name = input.opaque(MAX_MACHINE_NAME)?;
        let (uid, gid) = (input.u32()?, input.u32()?);
        let length = input.u32()?;
        let group_count = length as usize;
        let mut groups = [0; MAX_GROUPS];
        let Some(used) = groups.get_mut(..group_count) else {
            return Err(DecodeError::TooLong { length, maximum: MAX_GROUPS });
        };
        for group in used {
            *group = input.u32()?;
        }
        input.finish()?;
        Ok(AuthSys { stamp, machine_name, uid, gid, groups, group_count })
    }

    /// Writes the credential with its flavour.
    pub fn emit(&self, out: &mut Encoder) {
        out.u32(Flavor::SYS.0);
        let length_at = out.position();
        out.u32(0);
        let body_at = out.position();
        out.u32(self.stamp);
        out.opaque(self.machine_name);
        out.u32(self.uid);
        out.u32(self.gid);
        out.u32(self.group_count as u32);
        for group in self.groups() {
            out.u32(*group);
        }
        out.patch_u32(length_at, (out.position() - body_at) as u32);
    }
}

/// Who the caller says it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credential<'a> {
    /// AUTH_NONE.
    None,
    /// AUTH_SYS.
    Sys(AuthSys<'a>),
}

impl<'a> Credential<'a> {
    /// Parses a credential as it stands in a call.
    pub fn parse(flavor: Flavor, body: &'a [u8]) -> Result<Credential<'a>, AuthStat> {
        match flavor {
            Flavor::NONE => Ok(Credential::None),
            Flavor::SYS => AuthSys::parse(body).map(Credential::Sys).map_err(|_| AuthStat::BadCredential),
            // RPCSEC_GSS too: clients then use what MOUNT lists.
            _ => Err(AuthStat::BadCredential),
        }
    }

    /// Writes the credential with its flavour.
    pub fn emit(&self, out: &mut Encoder) {
        match self {
            Credential::None => {
                out.u32(Flavor::NONE.0);
                out.u32(0);
            }
            Credential::Sys(sys) => sys.emit(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;

    fn emitted(credential: Credential<'_>) -> alloc::vec::Vec<u8> {
        let mut out = Encoder::new(Buffer::unpooled(512), 0);
        credential.emit(&mut out);
        assert!(!out.overflowed());
        out.written().to_vec()
    }

    #[test]
    fn auth_sys_round_trips() {
        let sys = AuthSys::new(b"client", 1000, 100, &[4, 24, 27]);
        let bytes = emitted(Credential::Sys(sys));
        let mut input = Decoder::new(&bytes);
        assert_eq!(input.u32(), Ok(1));
        assert_eq!(AuthSys::parse(input.opaque(MAX_AUTH_BODY).expect("body")), Ok(sys));
    }

    #[test]
    fn sixteen_groups_pass_and_seventeen_do_not() {
        let mut body = alloc::vec![0; 16];
        body.extend_from_slice(&16u32.to_be_bytes());
        body.extend_from_slice(&[0; 64]);
        assert!(AuthSys::parse(&body).is_ok());
        body[19] = 17;
        body.extend_from_slice(&[0; 4]);
        assert_eq!(Credential::parse(Flavor::SYS, &body), Err(AuthStat::BadCredential));
    }

    #[test]
    fn a_body_not_consumed_exactly_is_refused() {
        let body = [0; 24];
        assert_eq!(AuthSys::parse(&body), Err(DecodeError::Trailing));
        assert_eq!(AuthSys::parse(&body[..16]), Err(DecodeError::Truncated));
        assert_eq!(Credential::parse(Flavor::GSS, &[]), Err(AuthStat::BadCredential));
    }
}
