//! The simulated NIC: a receive queue with an interrupt, a transmit ring with a doorbell, offloads.

use crate::frames::{segments, sum};
use crate::wire::{PortId, Wire};
use keelson_hal::{
    Interrupt, Link, MacAddress, NetCounters, NetDevice, NetFeatures, RxMeta, TransmitError, TxOffload,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What a NIC can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NicModel {
    /// Offloads.
    pub features: NetFeatures,
    /// Largest IP packet.
    pub max_mtu: usize,
    /// Frames between two doorbells.
    pub ring_size: usize,
}

impl NicModel {
    /// A NIC with these offloads, else the default.
    pub fn with(features: NetFeatures) -> NicModel {
        NicModel { features, ..NicModel::default() }
    }
}

impl Default for NicModel {
    /// No offloads, jumbo frames, a ring of 256.
    fn default() -> NicModel {
        NicModel { features: NetFeatures::empty(), max_mtu: 9000, ring_size: 256 }
    }
}

/// The interrupt of a NIC: silent unless armed.
#[derive(Default)]
pub(crate) struct Line {
    fired: Cell<bool>,
    armed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Line {
    pub fn fire(&self) {
        if self.armed.get() {
            self.fired.set(true);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

impl Interrupt for Line {
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.fired.replace(false) {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The device a stack drives. From [`Wire::device`].
pub struct SimNic {
    wire: Rc<Wire>,
    port: PortId,
    generation: u64,
    mac: MacAddress,
    model: NicModel,
    /// Slots keep their buffers; the first `used` are queued.
    ring: Vec<(Vec<u8>, TxOffload)>,
    used: usize,
    counters: NetCounters,
}

impl SimNic {
    pub(crate) fn new(
        wire: Rc<Wire>,
        port: PortId,
        generation: u64,
        mac: MacAddress,
        model: NicModel,
    ) -> SimNic {
        SimNic {
            wire,
            port,
            generation,
            mac,
            model,
            ring: Vec::new(),
            used: 0,
            counters: NetCounters::default(),
        }
    }

    /// False when the machine was killed, or another device was put in this port.
    fn alive(&self) -> bool {
        self.wire.ports.borrow()[self.port].generation == self.generation
    }

    fn send(&self, frame: &[u8]) {
        self.wire.send(self.port, self.generation, frame);
    }
}

impl NetDevice for SimNic {
    fn driver(&self) -> &'static str {
        "sim"
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn features(&self) -> NetFeatures {
        self.model.features
    }

    fn max_mtu(&self) -> usize {
        self.model.max_mtu
    }

    fn max_tso_frame(&self) -> usize {
        if self.model.features.contains(NetFeatures::TSO4) { 65_535 } else { 0 }
    }

    fn link(&mut self) -> Link {
        self.wire.ports.borrow()[self.port].link
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8], RxMeta)) -> usize {
        if !self.alive() {
            return 0;
        }
        for n in 0..budget {
            let frame = self.wire.ports.borrow_mut()[self.port].inbox.pop_front();
            let Some(frame) = frame else { return n };
            self.counters.rx_packets += 1;
            self.counters.rx_bytes += frame.len() as u64;
            sink(&frame, RxMeta::default());
            self.wire.spare.borrow_mut().push(frame);
        }
        budget
    }

    fn transmit_room(&mut self) -> usize {
        self.model.ring_size - self.used
    }

    fn transmit(
        &mut self,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        if self.used == self.model.ring_size {
            return Err(TransmitError::Full);
        }
        if len > self.model.max_mtu + 14 && offload.segment_size.is_none() {
            return Err(TransmitError::TooLong);
        }
        if self.ring.len() == self.used {
            // With room for the largest frame from the beginning, as in a device's ring: who counts allocations counts others'.
            self.ring.push((Vec::with_capacity(self.model.max_mtu + 14), TxOffload::default()));
        }
        let slot = &mut self.ring[self.used];
        // Whoever does not write all of it is found out.
        slot.0.resize(len, 0xee);
        slot.1 = offload;
        fill(&mut slot.0);
        self.used += 1;
        self.counters.tx_packets += 1;
        self.counters.tx_bytes += len as u64;
        Ok(())
    }

    fn flush(&mut self) {
        self.counters.doorbells += 1;
        for n in 0..self.used {
            let (frame, offload) = &mut self.ring[n];
            match (offload.segment_size, offload.checksum) {
                (Some(_), None) => panic!("segmentation without checksum"),
                (Some(mss), Some(checksum)) => {
                    self.counters.tx_tso_packets += 1;
                    for segment in segments(&self.ring[n].0, checksum.start.into(), mss.into()) {
                        self.send(&segment);
                    }
                }
                (None, checksum) => {
                    if let Some(checksum) = checksum {
                        let (start, offset) = (usize::from(checksum.start), usize::from(checksum.offset));
                        let sum = !sum(&frame[start..]);
                        frame[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
                    }
                    self.send(&self.ring[n].0);
                }
            }
        }
        self.used = 0;
    }

    fn arm(&mut self) -> bool {
        let ports = self.wire.ports.borrow();
        let port = &ports[self.port];
        if port.generation != self.generation {
            return false;
        }
        port.line.armed.set(true);
        !port.inbox.is_empty()
    }

    fn disarm(&mut self) {
        if self.alive() {
            self.wire.ports.borrow()[self.port].line.armed.set(false);
        }
    }

    fn set_multicast(&mut self, _: &[MacAddress]) {}

    fn counters(&self) -> NetCounters {
        self.counters
    }
}
