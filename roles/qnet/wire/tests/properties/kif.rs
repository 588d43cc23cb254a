//! All 18 KIF messages.

use crate::layouts::any_layout;
use crate::{BOTH, emitted};
use keelson_qnet_wire::Nd;
use keelson_qnet_wire::kif::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn cred() -> impl Strategy<Value = Option<Cred>> {
    let groups = vec(any::<u32>(), 0..=8);
    let cred = (any::<(u32, i32, i32, u32)>(), any::<[u32; 6]>(), groups).prop_map(
        |((nd, pid, sid, flags), [ruid, euid, suid, rgid, egid, sgid], groups)| Cred {
            nd: Nd(nd),
            pid,
            sid,
            flags,
            ruid,
            euid,
            suid,
            rgid,
            egid,
            sgid,
            groups: Groups::new(&groups).unwrap(),
        },
    );
    prop::option::of(cred)
}

/// A message and its data.
pub fn message() -> impl Strategy<Value = (KifMessage, Vec<u8>)> {
    vec(any::<u8>(), 0..100).prop_flat_map(|data| {
        let nbytes = data.len() as u32;
        let send = move || any_layout!(MsgSend).prop_map(move |send| MsgSend { nbytes, ..send });
        let transfer =
            move || any_layout!(Transfer).prop_map(move |transfer| Transfer { nbytes, ..transfer });
        let connect = || any_layout!(Connect);
        let pulse = || any_layout!(Pulse);
        let with_data = prop_oneof![
            (connect(), cred(), send(), cred()).prop_map(|(connect, first, send, second)| {
                KifMessage::ConnectMsgSend(connect, first, send, second)
            }),
            (send(), cred()).prop_map(|(send, cred)| KifMessage::MsgSend(send, cred)),
            transfer().prop_map(KifMessage::MsgReadXfer),
            transfer().prop_map(KifMessage::MsgWrite),
            transfer().prop_map(KifMessage::MsgReply),
        ];
        let without = prop_oneof![
            (connect(), cred()).prop_map(|(connect, cred)| KifMessage::Connect(connect, cred)),
            any_layout!(ConnectSuccess).prop_map(KifMessage::ConnectSuccess),
            any_layout!(ConnectFail).prop_map(KifMessage::ConnectFail),
            any_layout!(Unblock).prop_map(KifMessage::Unblock),
            any_layout!(MsgRead).prop_map(KifMessage::MsgRead),
            any_layout!(Transfer).prop_map(KifMessage::MsgError),
            any_layout!(Event).prop_map(KifMessage::Event),
            (pulse(), cred()).prop_map(|(pulse, cred)| KifMessage::Pulse(pulse, cred)),
            (any_layout!(Signal), cred()).prop_map(|(signal, cred)| KifMessage::Signal(signal, cred)),
            any_layout!(Disconnect).prop_map(KifMessage::Disconnect),
            any_layout!(ConnectDeath).prop_map(KifMessage::ConnectDeath),
            any_layout!(Transfer).prop_map(KifMessage::MsgReadError),
            (connect(), cred(), pulse(), cred()).prop_map(|(connect, first, pulse, second)| {
                KifMessage::ConnectPulse(connect, first, pulse, second)
            }),
        ];
        prop_oneof![
            with_data.prop_map(move |message| (message, data.clone())),
            without.prop_map(|message| (message, Vec::new())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn messages((message, data) in message()) {
        for endian in BOTH {
            let mut bytes = emitted(|room| message.emit(room, endian));
            let size = bytes.len();
            prop_assert!(size <= KifMessage::MAX_LEN);
            bytes.extend(&data);
            let decoded = KifMessage::decode(&bytes).unwrap();
            prop_assert_eq!(decoded.message, message);
            prop_assert_eq!(decoded.message.kind(), message.kind());
            prop_assert_eq!((&bytes[decoded.data.clone()], decoded.truncated, decoded.endian), (&data[..], false, endian));
            // The same from the front alone.
            prop_assert_eq!(KifMessage::decode_front(&bytes[..size], bytes.len()), Ok(decoded));
            for cut in 0..size {
                prop_assert!(KifMessage::decode(&bytes[..cut]).is_err(), "{}", cut);
            }
            if !data.is_empty() {
                let cut = KifMessage::decode(&bytes[..bytes.len() - 1]).unwrap();
                prop_assert!(cut.truncated && cut.data.end == bytes.len() - 1);
            }
        }
    }
}
