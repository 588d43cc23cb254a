//! Structures of one fixed layout: random bytes give random values in every field. Those
//! with a header that is not their own are tested as the messages that they are.

use keelson_qnet_wire::Endian;
use keelson_qnet_wire::io::*;
use keelson_qnet_wire::kif::*;
use keelson_qnet_wire::netmgr::StrToNdReply;
use keelson_qnet_wire::proc::*;
use proptest::prelude::*;

macro_rules! layouts {
    ($($test:ident $layout:ident $len:literal,)*) => {$(
        /// Decoding undoes encoding, in either order, and shorter input is refused.
        #[test]
        fn $test() {
            assert_eq!($layout::LEN, $len);
            proptest!(|(bytes in any::<[u8; $len]>(), cut in 0..$len as usize)| {
                for read in [Endian::Little, Endian::Big] {
                    let value = $layout::decode(&bytes, read).unwrap();
                    for write in [Endian::Little, Endian::Big] {
                        let again = value.encode(write);
                        prop_assert_eq!($layout::decode(&again, write), Ok(value));
                        // What a field does not cover is zero, what it covers is as it was.
                        if write == read {
                            prop_assert!(again.iter().zip(&bytes).all(|(new, old)| new == old || *new == 0));
                        }
                    }
                    let short = $layout::decode(&bytes[..cut], read).unwrap_err();
                    prop_assert_eq!((short.need, short.have), ($len, cut));
                }
            });
        }
    )*};
}

layouts! {
    vtid_info VtidInfo 32,
    sigevent Sigevent 16,
    msg_info MsgInfo 48,
    stat Stat 72,
    io_notify_reply IoNotifyReply 8,
    io_devctl_reply IoDevctlReply 16,
    link_head LinkHead 20,
    connect_entry ConnectEntry 32,
    ftype_reply FtypeReply 8,
    resmgr_link ResmgrLink 32,
    mount_extra MountExtra 64,
    strtond_reply StrToNdReply 12,
    proc_info ProcInfo 272,
    thread_status ThreadStatus 224,
    map_info MapInfo 48,
    siginfo Siginfo 40,
    sys_conf_reply SysConfReply 24,
    inheritance Inheritance 88,
    fd_info FdInfo 28,
}

/// A value of a layout, for the messages that contain it.
macro_rules! any_layout {
    ($layout:ident) => {
        proptest::prelude::any::<[u8; $layout::LEN]>()
            .prop_map(|bytes| $layout::decode(&bytes, keelson_qnet_wire::Endian::Little).unwrap())
    };
}

pub(crate) use any_layout;
