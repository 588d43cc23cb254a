//! The host's network card: frames of the switch's stream, read and written in large pieces.

use std::cell::{Cell, RefCell};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use keelson_hal::{
    Interrupt, Link, LinkSpeed, MacAddress, NetCounters, NetDevice, NetFeatures, RxMeta, TransmitError,
    TxOffload,
};
use rustix::event::PollFlags;

use crate::lan::{FrameReader, FrameWriter};

/// Largest IP packet: jumbo frames, for links whose other end takes them.
const MAX_MTU: usize = 9000;
const ETHERNET_HEADER: usize = 14;
/// Bytes that may wait for the switch before the ring counts as full.
const RING_BYTES: usize = 256 << 10;
/// A read of this many bytes probably left some behind.
const LONG_READ: usize = 128 << 10;

/// The end of the cable that the card and the thread's rest share; it is also the card's interrupt.
pub struct Cable {
    stream: RefCell<Option<UnixStream>>,
    /// The stream had bytes when last looked at.
    readable: Cell<bool>,
    /// Bytes wait for the stream to take more.
    clogged: Cell<bool>,
    armed: Cell<bool>,
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Cable {
    pub fn new(stream: UnixStream) -> Cable {
        Cable {
            stream: RefCell::new(Some(stream)),
            readable: Cell::new(true),
            clogged: Cell::new(false),
            armed: Cell::new(false),
            fired: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Nothing comes or goes any more.
    pub fn unplug(&self) {
        self.stream.take();
    }

    /// Lets `wait` wait for what the card wants to know of the stream, and tells the card what it has seen.
    /// Without a stream (the switch is gone) there is nothing to know.
    pub fn watch(&self, wait: impl FnOnce(Option<(&UnixStream, PollFlags)>) -> PollFlags) {
        let stream = self.stream.borrow();
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, self.armed.get());
        events.set(PollFlags::OUT, self.clogged.get());
        let seen = wait(stream.as_ref().map(|stream| (stream, events)));
        let gone = PollFlags::HUP | PollFlags::ERR;
        if seen.intersects(PollFlags::IN | gone) {
            self.readable.set(true);
        }
        if seen.intersects(PollFlags::IN | PollFlags::OUT | gone) {
            self.fired.set(true);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

impl Interrupt for Cable {
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.fired.replace(false) {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The network card.
pub struct StreamNic {
    cable: Rc<Cable>,
    mac: MacAddress,
    reader: FrameReader,
    writer: FrameWriter,
    /// The last [`NetDevice::receive`] left frames behind.
    more: bool,
    counters: NetCounters,
}

impl StreamNic {
    pub fn new(cable: Rc<Cable>, mac: MacAddress) -> StreamNic {
        let (reader, writer) = Default::default();
        StreamNic { cable, mac, reader, writer, more: false, counters: NetCounters::default() }
    }

    /// Reads once.
    fn read(&mut self) {
        let mut end = self.cable.stream.borrow_mut();
        let Some(stream) = &mut *end else { return };
        match self.reader.fill(stream) {
            Ok(0) => *end = None,
            // A stream gives all it has, so after a short read there is no point in asking again at once.
            Ok(count) => self.cable.readable.set(count >= LONG_READ),
            Err(_) => self.cable.readable.set(false),
        }
    }

    /// Writes as much as the switch takes.
    fn write(&mut self) {
        let mut end = self.cable.stream.borrow_mut();
        if end.as_mut().is_none_or(|stream| self.writer.flush(stream).is_err()) {
            *end = None;
            self.writer.clear();
        }
        self.cable.clogged.set(!self.writer.is_empty());
    }
}

impl NetDevice for StreamNic {
    fn driver(&self) -> &'static str {
        "stream"
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn features(&self) -> NetFeatures {
        // Frames on the switch are finished frames.
        NetFeatures::empty()
    }

    fn max_mtu(&self) -> usize {
        MAX_MTU
    }

    fn max_tso_frame(&self) -> usize {
        0
    }

    fn link(&mut self) -> Link {
        if self.cable.stream.borrow().is_some() { Link::Up(LinkSpeed(0)) } else { Link::Down }
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8], RxMeta)) -> usize {
        let (mut count, mut has_read) = (0, false);
        while count < budget {
            match self.reader.next_frame() {
                Ok(Some(frame)) => {
                    count += 1;
                    self.counters.rx_packets += 1;
                    self.counters.rx_bytes += frame.len() as u64;
                    sink(frame, RxMeta::default());
                }
                Ok(None) if !has_read && self.cable.readable.get() => {
                    has_read = true;
                    self.read();
                }
                Ok(None) => {
                    self.more = self.cable.readable.get();
                    return count;
                }
                Err(_) => {
                    self.counters.rx_errors += 1;
                    self.cable.unplug();
                    self.reader.clear();
                    return count;
                }
            }
        }
        self.more = true;
        count
    }

    fn transmit_room(&mut self) -> usize {
        RING_BYTES.saturating_sub(self.writer.waiting()).div_ceil(ETHERNET_HEADER + MAX_MTU)
    }

    fn transmit(
        &mut self,
        len: usize,
        _offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), TransmitError> {
        if len > ETHERNET_HEADER + MAX_MTU {
            self.counters.tx_dropped += 1;
            return Err(TransmitError::TooLong);
        }
        if self.transmit_room() == 0 {
            self.counters.tx_dropped += 1;
            return Err(TransmitError::Full);
        }
        self.writer.push_with(len, fill);
        self.counters.tx_packets += 1;
        self.counters.tx_bytes += len as u64;
        Ok(())
    }

    fn flush(&mut self) {
        if !self.cable.clogged.get() {
            self.counters.doorbells += 1;
            self.write();
        }
    }

    fn arm(&mut self) -> bool {
        self.cable.armed.set(true);
        self.more
    }

    fn disarm(&mut self) {
        self.cable.armed.set(false);
        // Woken because the switch takes more, perhaps.
        if self.cable.clogged.get() {
            self.write();
        }
    }

    fn set_multicast(&mut self, _: &[MacAddress]) {}

    fn counters(&self) -> NetCounters {
        self.counters
    }
}
