//! The two rings of a chip with what is counted at them, and the registers that tell the chip of them.

use super::layout::Layout;
use super::ring::{self, RxRing};
use super::statistics::Statistics;
use super::tx::TxRing;
use crate::InitError;
use alloc::rc::Rc;
use keelson_hal::{Dma, NetCounters, Registers, RxMeta, TransmitError, TxOffload};

/// A receive and a transmit ring.
pub(crate) struct Queues {
    pub rx: RxRing,
    pub tx: TxRing,
    /// The tail registers of both.
    rdt: usize,
    tdt: usize,
    pub counters: NetCounters,
    statistics: Statistics,
    doorbells: u64,
}

impl Queues {
    /// Rings with their buffers, for frames of up to `max_frame` bytes without FCS, and with `segmenting` for frames
    /// to be segmented; `rdt` and `tdt` are their tail registers.
    pub fn new(
        dma: &Rc<dyn Dma>,
        layout: Layout,
        max_frame: usize,
        segmenting: bool,
        (rdt, tdt): (usize, usize),
    ) -> Result<Queues, InitError> {
        Ok(Queues {
            rx: RxRing::new(dma, layout, max_frame)?,
            tx: TxRing::new(dma, layout, max_frame, segmenting)?,
            rdt,
            tdt,
            counters: NetCounters::default(),
            statistics: Statistics::default(),
            doorbells: 0,
        })
    }

    /// See [`NetDevice::receive`](keelson_hal::NetDevice::receive).
    pub fn receive(
        &mut self,
        registers: &dyn Registers,
        budget: usize,
        sink: &mut dyn FnMut(&[u8], RxMeta),
    ) -> usize {
        let (frames, tail) = self.rx.receive(budget, &mut self.counters, sink);
        if let Some(tail) = tail {
            self.doorbells += 1;
            registers.write32(self.rdt, tail);
        }
        frames
    }

    /// See [`NetDevice::transmit`](keelson_hal::NetDevice::transmit).
    pub fn transmit(
        &mut self,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        let result = self.tx.transmit(len, offload, fill);
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

    /// See [`NetDevice::flush`](keelson_hal::NetDevice::flush).
    pub fn flush(&mut self, registers: &dyn Registers) {
        if let Some(tail) = self.tx.flush() {
            self.doorbells += 1;
            registers.write32(self.tdt, tail);
        }
    }

    /// Whether somebody waits for the device to send what the full ring holds.
    pub fn awaits_room(&self) -> bool {
        self.tx.starved && !self.tx.is_idle()
    }

    /// Whether there is a frame, or the room that was awaited.
    pub fn has_work(&mut self) -> bool {
        let freed = self.tx.starved && self.tx.room() > 0;
        self.rx.has_work() || freed
    }

    /// Costs one register read: roles ask for it with each look at their interfaces.
    pub fn counters(&self, registers: &dyn Registers) -> NetCounters {
        let rx_dropped = self.statistics.missed(registers);
        NetCounters { doorbells: self.doorbells, rx_dropped, ..self.counters }
    }

    /// See [`NetDevice::statistics`](keelson_hal::NetDevice::statistics).
    pub fn statistics(&self, registers: &dyn Registers, report: &mut dyn FnMut(&'static str, u64)) {
        self.statistics.for_each(registers, report);
    }

    /// Descriptors of each ring.
    pub fn rings(&self) -> (usize, usize) {
        (ring::COUNT, ring::COUNT)
    }

    /// See `DmaBuffer::leak`.
    pub fn leak(&mut self) {
        self.rx.leak();
        self.tx.leak();
    }
}
