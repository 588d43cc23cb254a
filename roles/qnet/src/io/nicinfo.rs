//! Text of `/proc/nicinfo/<if>` and `/dev/io-net/<if>`: what `nicinfo` prints (section 17).

use alloc::string::String;
use core::fmt;
use keelson_qnet_wire::Mac;

/// Column to which labels are padded with dots.
const COLUMN: usize = 46;

/// What is known of an interface. Numbers that the device does not have are 0.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NicInfo {
    /// Its name, such as `en0`.
    pub name: String,
    /// What it is, in words.
    pub description: String,
    /// Address of the adapter.
    pub permanent: Mac,
    /// Address in use.
    pub current: Mac,
    /// Speed in Mb/s; 0 when it is not known.
    pub rate_mbps: u32,
    /// Kind of attachment, such as `MII` or `virtio`.
    pub interface_type: String,
    /// Longest frame, with its Ethernet header, in bytes.
    pub frame_max: u32,
    /// Interrupt.
    pub interrupt: u32,
    /// First and last address of I/O ports.
    pub io: Option<(u64, u64)>,
    /// First and last address of registers in memory.
    pub memory: Option<(u64, u64)>,
    /// Whether it takes all frames.
    pub is_promiscuous: bool,
    /// Whether it takes multicast frames.
    pub has_multicast: bool,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames not sent for want of memory.
    pub tx_no_memory: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames lost for want of memory.
    pub rx_no_memory: u64,
    /// What went wrong.
    pub errors: NicErrors,
}

macro_rules! errors {
    ($($(#[$meta:meta])* $field:ident = $label:literal,)*) => {
        /// Counters of errors.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct NicErrors {
            $($(#[$meta])* pub $field: u64,)*
        }

        impl NicErrors {
            fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($label, self.$field)),*].into_iter()
            }
        }
    };
}

errors! {
    /// Sent after one collision.
    single_collisions = "Single Collisions on Transmit",
    /// Sent after waiting for others.
    deferred = "Deferred Transmits",
    /// Collided late.
    late_collisions = "Late Collision on Transmit errors",
    /// Given up after many collisions.
    aborted = "Transmits aborted (excessive collisions)",
    /// Data came too late.
    underruns = "Transmit Underruns",
    /// No carrier.
    no_carrier = "No Carrier on Transmit",
    /// Received with a broken byte.
    alignment = "Receive Alignment errors",
    /// Received with a wrong checksum.
    crc = "Received packets with CRC errors",
    /// Received and dropped.
    dropped = "Packets Dropped on receive",
}

impl fmt::Display for NicInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:\n  {}\n", self.name, self.description)?;
        line(f, "Physical Node ID", &NodeId(self.permanent))?;
        line(f, "Current Physical Node ID", &NodeId(self.current))?;
        match self.rate_mbps {
            0 => line(f, "Current Operation Rate", &"Unknown")?,
            rate => line(f, "Current Operation Rate", &format_args!("{rate}.00 Mb/s"))?,
        }
        line(f, "Active Interface Type", &self.interface_type)?;
        line(f, "Maximum Transmittable data Unit", &self.frame_max)?;
        line(f, "Maximum Receivable data Unit", &self.frame_max)?;
        line(f, "Hardware Interrupt", &format_args!("{:#x}", self.interrupt))?;
        line(f, "I/O Aperture", &Aperture(self.io))?;
        line(f, "Memory Aperture", &Aperture(self.memory))?;
        line(f, "Promiscuous Mode", if self.is_promiscuous { &"On" } else { &"Off" })?;
        line(f, "Multicast Support", if self.has_multicast { &"Enabled" } else { &"Disabled" })?;
        writeln!(f)?;
        line(f, "Packets Transmitted OK", &self.tx_packets)?;
        line(f, "Bytes Transmitted OK", &self.tx_bytes)?;
        line(f, "Memory Allocation Failures on Transmit", &self.tx_no_memory)?;
        writeln!(f)?;
        line(f, "Packets Received OK", &self.rx_packets)?;
        line(f, "Bytes Received OK", &self.rx_bytes)?;
        line(f, "Memory Allocation Failures on Receive", &self.rx_no_memory)?;
        writeln!(f)?;
        self.errors.each().try_for_each(|(label, count)| line(f, label, &count))
    }
}

/// The label to column 46, then the value.
fn line(f: &mut fmt::Formatter<'_>, label: &str, value: &dyn fmt::Display) -> fmt::Result {
    let dots = COLUMN.saturating_sub(label.len() + 3);
    writeln!(f, "  {label} {:.<dots$} {value}", "")
}

/// An address in two halves: `000C29 DD3528`.
struct NodeId(Mac);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mac([a, b, c, d, e, g]) = self.0;
        write!(f, "{a:02X}{b:02X}{c:02X} {d:02X}{e:02X}{g:02X}")
    }
}

/// First and last address.
struct Aperture(Option<(u64, u64)>);

impl fmt::Display for Aperture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((first, last)) => write!(f, "{first:#x} - {last:#x}"),
            None => f.write_str("0x0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        let mac = Mac([0, 0x0c, 0x29, 0xdd, 0x35, 0x28]);
        let io = Some((0xf800, 0xf8ff));
        let errors = NicErrors { crc: 7, ..NicErrors::default() };
        let info =
            NicInfo { permanent: mac, io, errors, tx_packets: 1026, frame_max: 1514, ..NicInfo::default() };
        let text = info.to_string();
        for line in [
            "  Physical Node ID ........................... 000C29 DD3528\n",
            "  Current Operation Rate ..................... Unknown\n",
            "  Maximum Receivable data Unit ............... 1514\n",
            "  I/O Aperture ............................... 0xf800 - 0xf8ff\n",
            "  Packets Transmitted OK ..................... 1026\n",
            "  Received packets with CRC errors ........... 7\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        let values = text.lines().filter(|line| line.contains(" ..")).map(|line| line.find(". ").unwrap());
        assert!(values.clone().count() > 20 && values.into_iter().all(|at| at == COLUMN - 1));
    }
}
