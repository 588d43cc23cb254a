//! Pulses, events, signals, and giving up waiting (section 12.2).

use super::VtidInfo;
use crate::layout::layout;

layout! {
    /// A notification as a client describes it (`struct sigevent`).
    pub struct Sigevent: 16, "sigevent" {
        /// What to do: 1 to 3 a signal, 4 a pulse, 5 unblock, 6 interrupt, 7 thread.
        0 notify: i32,
        /// Signal number, or connection id of a pulse.
        4 signo_or_coid: i32,
        /// Value to deliver.
        8 value: i32,
        /// Code to deliver.
        12 code: i16,
        /// Priority of a pulse.
        14 priority: i16,
    }
}

layout! {
    /// EVENT: the server delivers an event to the client.
    pub body struct Event: 24, "KIF EVENT" {
        /// The client's handle, from a send on the connection.
        4 client_handle: u32,
        /// What to deliver.
        8 sigevent: Sigevent,
    }
}

layout! {
    /// PULSE.
    pub body struct Pulse: 64, "KIF PULSE" {
        /// The server's handle for the connection.
        4 server_id: u32,
        /// The client's handle.
        8 client_handle: u32,
        /// About the sending thread.
        12 vinfo: VtidInfo,
        /// Zero.
        44 pulse_type: u16,
        /// Zero.
        46 subtype: u16,
        /// Code of the pulse.
        48 code: i8,
        /// Value of the pulse.
        52 value: u32,
        /// Server connection id; the receiver puts its own there.
        56 scoid: i32,
        /// Priority at which it is queued.
        60 priority: i32,
    }
}

layout! {
    /// SIGNAL to a process or a group on the receiving node.
    pub body struct Signal: 28, "KIF SIGNAL" {
        /// The client's handle.
        4 client_handle: u32,
        /// Process; negative: process group.
        8 pid: i32,
        /// Thread, 0 for any.
        12 tid: i32,
        /// Signal number.
        16 signo: i32,
        /// Code to deliver.
        20 code: i32,
        /// Value to deliver.
        24 value: u32,
    }
}

layout! {
    /// UNBLOCK: a client thread got a signal or a timeout while it waited.
    pub body struct Unblock: 16, "KIF UNBLOCK" {
        /// The server's handle for the connection.
        4 server_id: u32,
        /// The client's handle for the transaction.
        8 client_handle: u32,
        /// Client thread.
        12 tid: i32,
    }
}
