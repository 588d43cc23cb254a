//! Control data of sendmsg(2) and recvmsg(2).

use super::{Cmsghdr, cmsg_align, get, put};

/// SOL_SOCKET
const SOL_SOCKET: i32 = 1;
/// SCM_RIGHTS
const SCM_RIGHTS: i32 = 1;

/// The descriptors in SCM_RIGHTS messages of `control`, replaced by what `with` makes of them. On the wire they are handles,
/// which fit in 31 bits for this.
pub fn each_right(control: &mut [u8], mut with: impl FnMut(i32) -> i32) {
    let mut rest = control;
    while let Some(header) = Cmsghdr::read(rest) {
        let Ok(len) = usize::try_from(header.len) else { return };
        let Some(own) = rest.get_mut(..len).filter(|own| own.len() >= Cmsghdr::LEN) else { return };
        if (header.level, header.kind) == (SOL_SOCKET, SCM_RIGHTS) {
            let body = own.get_mut(Cmsghdr::LEN..).unwrap_or_default();
            for slot in body.chunks_exact_mut(4) {
                let fd = with(i32::from_le_bytes(get(slot, 0)));
                put(slot, 0, &fd.to_le_bytes());
            }
        }
        rest = core::mem::take(&mut rest).get_mut(cmsg_align(len)..).unwrap_or_default();
    }
}
