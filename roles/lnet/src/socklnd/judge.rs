//! What an acceptor answers to a HELLO (lnet specification section 3.6, passive side, rules 4 to 6).

use keelson_lnet_wire::hello::{Hello, Version};
use keelson_lnet_wire::nid::Nid;

/// How things stand with the peer when its HELLO arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// We are opening a connection to it at this moment, or have opened one of the wanted type since it began this one: its HELLO
    /// may come late.
    pub connecting: bool,
    /// Version and incarnation of the connections that there are.
    pub life: Option<(Version, u64)>,
    /// Connections of the wanted type between the same addresses.
    pub same: usize,
}

/// The answer. All but the first are HELLOs of type "none".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The connection is welcome.
    Accept,
    /// Both of us connect: that of the higher NID survives, and that is ours.
    Race,
    /// The peer has begun a new life, or speaks another version: its old connections are closed, and it has to
    /// come again.
    Stale,
    /// It has as many of the type as it may have.
    Duplicate,
}

/// Decides. `own` is the NID of our interface.
pub(super) fn judge(own: Nid, hello: &Hello, standing: &Standing, max_per_type: usize) -> Verdict {
    if standing.connecting && hello.src_nid < own {
        return Verdict::Race;
    }
    if standing.life.is_some_and(|life| life != (hello.version, hello.src_incarnation)) {
        return Verdict::Stale;
    }
    if standing.same >= max_per_type { Verdict::Duplicate } else { Verdict::Accept }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_lnet_wire::LUSTRE_PID;
    use keelson_lnet_wire::hello::ConnType;

    fn nid(text: &str) -> Nid {
        text.parse().unwrap()
    }

    fn hello(src: &str, incarnation: u64) -> Hello {
        Hello {
            version: Version::V3,
            src_nid: nid(src),
            dst_nid: nid("10.0.0.5@tcp"),
            src_pid: LUSTRE_PID,
            dst_pid: 0,
            src_incarnation: incarnation,
            dst_incarnation: 0,
            ctype: ConnType::Control,
            ips: 0,
        }
    }

    #[test]
    fn the_rules_in_their_order() {
        let own = nid("10.0.0.5@tcp");
        let idle = Standing { connecting: false, life: None, same: 0 };
        let (lower, higher) = (hello("10.0.0.4@tcp", 7), hello("10.0.0.6@tcp", 7));
        assert_eq!(judge(own, &lower, &idle, 8), Verdict::Accept);
        let racing = Standing { connecting: true, ..idle };
        assert_eq!(judge(own, &lower, &racing, 8), Verdict::Race);
        assert_eq!(judge(own, &higher, &racing, 8), Verdict::Accept, "ours is refused by the peer");
        for (life, verdict) in [
            ((Version::V3, 7), Verdict::Accept),
            ((Version::V3, 8), Verdict::Stale),
            ((Version::V2, 7), Verdict::Stale),
        ] {
            let known = Standing { life: Some(life), ..idle };
            assert_eq!(judge(own, &lower, &known, 8), verdict);
            assert_eq!(judge(own, &lower, &Standing { connecting: true, ..known }, 8), Verdict::Race);
        }
        assert_eq!(judge(own, &lower, &Standing { same: 7, ..idle }, 8), Verdict::Accept);
        assert_eq!(judge(own, &lower, &Standing { same: 8, ..idle }, 8), Verdict::Duplicate);
    }

    #[test]
    fn of_two_that_connect_at_once_exactly_one_is_refused() {
        let (a, b) = ("10.0.0.4@tcp", "10.0.0.6@tcp");
        let racing = Standing { connecting: true, life: None, same: 0 };
        let at_a = judge(nid(a), &hello(b, 1), &racing, 8);
        let at_b = judge(nid(b), &hello(a, 1), &racing, 8);
        assert_eq!((at_a, at_b), (Verdict::Accept, Verdict::Race));
    }
}
