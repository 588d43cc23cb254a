//! Types of KIF messages (section 12.1).

macro_rules! types {
    ($($(#[$meta:meta])* $number:literal $name:ident $base:literal,)*) => {
        /// Type of a KIF message.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum KifType {
            $($(#[$meta])* $name,)*
        }

        impl KifType {
            /// Every type.
            pub const ALL: &[KifType] = &[$(KifType::$name),*];

            /// The type with a number.
            pub const fn from_wire(number: u8) -> Option<KifType> {
                match number {
                    $($number => Some(KifType::$name),)*
                    _ => None,
                }
            }

            /// Its number.
            pub const fn to_wire(self) -> u8 {
                match self { $(KifType::$name => $number,)* }
            }

            /// Length of its (first) structure without credentials.
            pub const fn base_size(self) -> u16 {
                match self { $(KifType::$name => $base,)* }
            }
        }
    };
}

types! {
    /// Client to server.
    0 Connect 24,
    /// Client to server; a send follows.
    1 ConnectMsgSend 24,
    /// Server to client.
    2 ConnectSuccess 24,
    /// Server to client.
    3 ConnectFail 16,
    /// Client to server.
    4 Unblock 16,
    /// Client to server, with data.
    5 MsgSend 48,
    /// Server to client.
    6 MsgRead 20,
    /// Client to server, with data.
    7 MsgReadXfer 20,
    /// Server to client, with data.
    8 MsgWrite 20,
    /// Server to client, with data.
    9 MsgReply 20,
    /// Server to client.
    10 MsgError 20,
    /// Server to client.
    11 Event 24,
    /// Client to server.
    12 Pulse 64,
    /// Client to server.
    13 Signal 28,
    /// Client to server.
    14 Disconnect 8,
    /// Server to client.
    15 ConnectDeath 8,
    /// Client to server.
    16 MsgReadError 20,
    /// Client to server; a pulse follows.
    17 ConnectPulse 24,
}

impl KifType {
    /// Whether credentials may be part of its structure.
    pub const fn may_have_cred(self) -> bool {
        use KifType::{Connect, ConnectMsgSend, ConnectPulse, MsgSend, Pulse, Signal};
        matches!(self, Connect | ConnectMsgSend | ConnectPulse | MsgSend | Pulse | Signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(KifType::ALL.len(), 18);
        assert!(KifType::ALL.iter().enumerate().all(|(number, kind)| {
            usize::from(kind.to_wire()) == number && KifType::from_wire(kind.to_wire()) == Some(*kind)
        }));
        assert_eq!(KifType::from_wire(18), None);
    }
}
