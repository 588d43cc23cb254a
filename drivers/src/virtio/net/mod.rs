//! virtio-net (virtio 1.2 section 5.1): checksum and segmentation offload, merged receive buffers, event
//! index.
//!
//! ```text
//!   VirtioNet
//!     pair     rx 0 / tx 1     the unit of multiqueue: one pair per core, each a NetDevice of its own
//!     control  last queue      receive filter
//! ```
//!
//! Memory for one pair of 256: receive 512 KiB (1 MiB when the host may merge TCP), transmit 512 KiB, and
//! 1 MiB of 64 KiB buffers when the device segments.
//!
//! Not here: more than one queue pair, guest offload switching, RSS, VLAN filtering.

mod control;
mod header;
mod rx;
mod tx;

use self::control::ControlQueue;
use self::rx::RxQueue;
use self::tx::TxQueue;
use super::transport::status;
use super::{QueueFault, Transport, device_type, negotiate, start};
use crate::InitError;
use alloc::boxed::Box;
use alloc::rc::Rc;
use keelson_hal::{
    Dma, Link, LinkSpeed, MacAddress, NetCounters, NetDevice, NetFeatures, RxMeta, TransmitError, TxOffload,
};

/// Feature bits (virtio 1.2 section 5.1.3).
mod feature {
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const MTU: u64 = 1 << 3;
    pub const MAC: u64 = 1 << 5;
    pub const GUEST_TSO4: u64 = 1 << 7;
    pub const GUEST_TSO6: u64 = 1 << 8;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const HOST_TSO6: u64 = 1 << 12;
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
    pub const CTRL_VQ: u64 = 1 << 17;
    pub const CTRL_RX: u64 = 1 << 18;
    pub const MQ: u64 = 1 << 22;
    pub const SPEED_DUPLEX: u64 = 1 << 63;
    pub use crate::virtio::feature::EVENT_IDX;
}

/// Offsets in the device configuration (virtio 1.2 section 5.1.4).
mod config {
    pub const MAC: usize = 0;
    pub const STATUS: usize = 6;
    pub const MAX_PAIRS: usize = 8;
    pub const MTU: usize = 10;
    pub const SPEED: usize = 12;
}

/// Bit of the configuration's status.
const LINK_UP: u16 = 1;
/// The largest speed in Mbit/s that the configuration can hold; anything above says that it is not known.
const MAX_SPEED: u32 = 0x7fff_ffff;
/// Buffer for a frame of the ordinary MTU.
const SMALL_BUFFER: usize = 2048;
/// Receive buffer when the host merges segments: a merged frame of 64 KiB takes 17 of 256.
const MERGING_BUFFER: usize = 4096;
/// Smallest MTU a device may ask for (IPv4, RFC 791), and the ordinary one.
const MIN_MTU: u16 = 68;
const DEFAULT_MTU: u16 = 1500;
/// Largest MTU this driver has buffers for.
const MAX_MTU: u16 = 9216;
/// Ethernet header with a VLAN tag.
const MAX_LINK_HEADER: usize = 18;

/// One receive and one transmit queue: what a core owns.
struct QueuePair {
    rx: RxQueue,
    tx: TxQueue,
}

/// A virtio network device.
pub struct VirtioNet {
    transport: Box<dyn Transport>,
    pair: QueuePair,
    control: Option<ControlQueue>,
    features: u64,
    mac: MacAddress,
    mtu: u16,
    counters: NetCounters,
    /// An interrupt is awaited: [`NetDevice::arm`] found no work.
    waiting: bool,
    gone: bool,
}

/// The subset of an offer that this driver uses.
fn choose_features(offer: u64) -> u64 {
    use feature::*;
    let mut wanted = CSUM | GUEST_CSUM | MTU | MAC | MRG_RXBUF | STATUS | CTRL_VQ | CTRL_RX | MQ | EVENT_IDX;
    wanted |= SPEED_DUPLEX;
    // Dependencies of section 5.1.3.1; and merged frames only into merged buffers.
    if offer & CSUM != 0 {
        wanted |= HOST_TSO4 | HOST_TSO6;
    }
    if offer & GUEST_CSUM != 0 && offer & MRG_RXBUF != 0 {
        wanted |= GUEST_TSO4 | GUEST_TSO6;
    }
    if offer & CTRL_VQ == 0 {
        wanted &= !(CTRL_RX | MQ);
    }
    wanted
}

impl VirtioNet {
    /// Brings the device up with one queue pair. It receives its own address and broadcast.
    pub fn new(transport: Box<dyn Transport>, dma: Rc<dyn Dma>) -> Result<VirtioNet, InitError> {
        let built = VirtioNet::build(&*transport, &dma);
        let (pair, mut control, features, mac, mtu) = match built {
            Ok(parts) => parts,
            Err(error) => {
                transport.reset();
                return Err(error);
            }
        };
        start(&*transport);
        if let Some(control) = &mut control {
            if features & feature::CTRL_RX != 0 {
                control.disable_promiscuous();
            }
            if features & feature::MQ != 0 {
                control.use_one_pair();
            }
        }
        let mut device = VirtioNet {
            transport,
            pair,
            control,
            features,
            mac,
            mtu,
            counters: NetCounters::default(),
            waiting: false,
            gone: false,
        };
        device.pair.rx.queue.publish();
        log::debug!(target: "virtio", "net: {mac}, mtu {mtu}, features {features:#x}");
        Ok(device)
    }

    #[allow(clippy::type_complexity)]
    fn build(
        transport: &dyn Transport,
        dma: &Rc<dyn Dma>,
    ) -> Result<(QueuePair, Option<ControlQueue>, u64, MacAddress, u16), InitError> {
        let features = negotiate(transport, device_type::NET, choose_features)?;
        let has = |bits| features & bits != 0;
        let mtu = if has(feature::MTU) { transport.config16(config::MTU) } else { DEFAULT_MTU };
        if mtu < MIN_MTU {
            return Err(InitError::BadConfig { field: "mtu", value: u64::from(mtu) });
        }
        let mtu = mtu.min(MAX_MTU);
        let mac = MacAddress(core::array::from_fn(|i| transport.config8(config::MAC + i)));
        if !has(feature::MAC) || mac.is_multicast() || mac == MacAddress::default() {
            // Inventing an address is the administrator's business.
            return Err(InitError::BadConfig {
                field: "mac",
                value: mac.0.iter().fold(0, |all, &byte| all << 8 | u64::from(byte)),
            });
        }

        let event_idx = has(feature::EVENT_IDX);
        let merging = has(feature::MRG_RXBUF);
        let frame = (tx::HEADROOM + usize::from(mtu) + MAX_LINK_HEADER).next_power_of_two().max(SMALL_BUFFER);
        let rx_buffer = match (merging, has(feature::GUEST_TSO4 | feature::GUEST_TSO6)) {
            (true, true) => MERGING_BUFFER,
            (true, false) => SMALL_BUFFER,
            (false, _) => frame,
        };
        let segmenting = has(feature::HOST_TSO4 | feature::HOST_TSO6);
        let pair = QueuePair {
            rx: RxQueue::new(transport, dma, 0, event_idx, merging, rx_buffer)?,
            tx: TxQueue::new(transport, dma, 1, event_idx, segmenting, frame)?,
        };
        let control = if has(feature::CTRL_VQ) {
            let pairs = if has(feature::MQ) { transport.config16(config::MAX_PAIRS) } else { 1 };
            if !(1..=0x8000 / 2).contains(&pairs) {
                return Err(InitError::BadConfig { field: "max_virtqueue_pairs", value: u64::from(pairs) });
            }
            Some(ControlQueue::new(transport, dma, 2 * pairs, event_idx)?)
        } else {
            None
        };
        Ok((pair, control, features, mac, mtu))
    }

    fn speed(&self) -> LinkSpeed {
        match self.has(feature::SPEED_DUPLEX).then(|| self.transport.config32(config::SPEED)) {
            Some(speed @ 0..=MAX_SPEED) => LinkSpeed(speed),
            _ => LinkSpeed(0),
        }
    }

    fn has(&self, bits: u64) -> bool {
        self.features & bits != 0
    }

    /// Stops a device that broke the rules. It looks like a link without carrier from now on.
    fn shut_off(&mut self, fault: QueueFault) {
        if self.gone {
            return;
        }
        log::error!(target: "virtio", "net: {}: {fault}; device shut off", self.mac);
        self.counters.rx_errors += 1;
        self.stop();
    }

    fn stop(&mut self) {
        self.gone = true;
        if !self.transport.reset() {
            log::error!(target: "virtio", "net: {}: no answer to reset, its memory is lost", self.mac);
            self.pair.rx.leak();
            self.pair.tx.leak();
            self.control.iter_mut().for_each(ControlQueue::leak);
        }
    }
}

impl Drop for VirtioNet {
    fn drop(&mut self) {
        if !self.gone {
            self.stop();
        }
    }
}

impl NetDevice for VirtioNet {
    fn driver(&self) -> &'static str {
        "virtio_net"
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn features(&self) -> NetFeatures {
        let mut features = NetFeatures::empty();
        features.set(NetFeatures::TX_CHECKSUM, self.has(feature::CSUM));
        features.set(NetFeatures::TSO4, self.has(feature::HOST_TSO4));
        features.set(NetFeatures::TSO6, self.has(feature::HOST_TSO6));
        features.set(NetFeatures::RX_CHECKSUM, self.has(feature::GUEST_CSUM));
        features.set(NetFeatures::LRO, self.has(feature::GUEST_TSO4 | feature::GUEST_TSO6));
        features
    }

    fn max_mtu(&self) -> usize {
        usize::from(self.mtu)
    }

    fn max_tso_frame(&self) -> usize {
        if self.has(feature::HOST_TSO4 | feature::HOST_TSO6) { tx::MAX_LARGE_FRAME } else { 0 }
    }

    /// Costs up to three register reads: for a call a second, or after an interrupt.
    fn link(&mut self) -> Link {
        if !self.gone && self.transport.status() & status::NEEDS_RESET != 0 {
            self.shut_off(QueueFault::Protocol("device asks for a reset"));
        }
        if self.gone {
            return Link::Down;
        }
        // Asked for about once a second: what a lost kick can cost at most. See `Virtqueue::nudge`.
        self.pair.tx.queue.nudge();
        self.pair.rx.queue.nudge();
        if !self.has(feature::STATUS) || self.transport.config16(config::STATUS) & LINK_UP != 0 {
            Link::Up(self.speed())
        } else {
            Link::Down
        }
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8], RxMeta)) -> usize {
        if self.gone {
            return 0;
        }
        match self.pair.rx.receive(budget, &mut self.counters, sink) {
            Ok(frames) => frames,
            Err(fault) => {
                self.shut_off(fault);
                0
            }
        }
    }

    fn transmit_room(&mut self) -> usize {
        if self.gone {
            return 0;
        }
        match self.pair.tx.reclaim() {
            Ok(()) => self.pair.tx.room(),
            Err(fault) => {
                self.shut_off(fault);
                0
            }
        }
    }

    fn transmit(
        &mut self,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        let longest = match offload.segment_size {
            Some(_) => self.max_tso_frame(),
            None => usize::from(self.mtu) + MAX_LINK_HEADER,
        };
        let mut result = if len > longest {
            Err(TransmitError::TooLong)
        } else if self.gone {
            Err(TransmitError::Full)
        } else {
            self.pair.tx.transmit(len, offload, fill)
        };
        if result == Err(TransmitError::Full) && self.transmit_room() > 0 {
            result = self.pair.tx.transmit(len, offload, fill);
        }
        match result {
            Ok(()) => {
                self.counters.tx_packets += 1;
                self.counters.tx_bytes += len as u64;
                self.counters.tx_tso_packets += u64::from(offload.segment_size.is_some());
            }
            Err(_) => self.counters.tx_dropped += 1,
        }
        result
    }

    fn flush(&mut self) {
        if !self.gone {
            self.pair.tx.queue.publish();
        }
    }

    fn arm(&mut self) -> bool {
        if self.gone {
            return false;
        }
        // First, so that an interrupt for what comes from here on is a new one.
        self.transport.acknowledge_interrupt();
        let mut work = self.pair.rx.queue.request_interrupt();
        work |= self.pair.tx.arm();
        if let Some(control) = &mut self.control
            && let Err(fault) = control.reap()
        {
            self.shut_off(fault);
            return false;
        }
        self.waiting = !work;
        work
    }

    fn disarm(&mut self) {
        if self.gone {
            return;
        }
        if core::mem::take(&mut self.waiting) {
            self.counters.interrupts += 1;
            self.transport.acknowledge_interrupt();
        }
        self.pair.rx.queue.suppress_interrupts();
        self.pair.tx.disarm();
    }

    fn set_multicast(&mut self, groups: &[MacAddress]) {
        // Without CTRL_RX the device filters nothing it could be told about.
        if self.gone || !self.has(feature::CTRL_RX) {
            return;
        }
        if let Some(control) = &mut self.control
            && let Err(fault) = control.set_groups(groups)
        {
            self.shut_off(fault);
        }
    }

    fn counters(&self) -> NetCounters {
        let control = self.control.as_ref().map_or(0, |control| control.queue.doorbells());
        let doorbells = self.pair.rx.queue.doorbells() + self.pair.tx.queue.doorbells() + control;
        NetCounters { doorbells, ..self.counters }
    }

    fn rings(&self) -> (usize, usize) {
        (usize::from(self.pair.rx.queue.size()), usize::from(self.pair.tx.queue.size()))
    }
}

#[cfg(test)]
mod tests;
