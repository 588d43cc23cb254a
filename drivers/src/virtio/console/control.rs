//! The control queues (virtio 1.2 section 5.3.6.2): 8 bytes each way, port, event, value; a name behind a PORT_NAME.

use crate::InitError;
use crate::dma::DmaBuffer;
use crate::virtio::{QueueFault, Segment, Virtqueue};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use keelson_hal::Dma;

/// Events (section 5.3.6.2).
mod event {
    pub const DEVICE_READY: u16 = 0;
    pub const PORT_ADD: u16 = 1;
    pub const PORT_REMOVE: u16 = 2;
    pub const PORT_READY: u16 = 3;
    pub const CONSOLE_PORT: u16 = 4;
    pub const RESIZE: u16 = 5;
    pub const PORT_OPEN: u16 = 6;
    pub const PORT_NAME: u16 = 7;
}

/// Bytes of a message without a name.
const MESSAGE: usize = 8;
/// A buffer for a message of the device, with the longest name there may be.
const BUFFER: usize = 256;
/// Messages of the device that can wait. QEMU drops what has no buffer.
const BUFFERS: u16 = 32;
/// Messages to the device at a time. Each may have three for an answer, which must find buffers.
const AT_ONCE: u16 = BUFFERS / 4;
/// Port of messages about the device as a whole.
const NO_PORT: u32 = u32::MAX;

/// What the device says of a port, by its number.
#[derive(Debug)]
pub(super) enum Event {
    /// It is there.
    Added(u32),
    /// It is there no more.
    Removed(u32),
    /// It is a console.
    Console(u32),
    /// It has a name.
    Named(u32, String),
    /// Somebody is at the other end, or no more.
    Connected(u32, bool),
}

impl Event {
    pub fn port(&self) -> u32 {
        match *self {
            Event::Added(port) | Event::Removed(port) | Event::Console(port) => port,
            Event::Named(port, _) | Event::Connected(port, _) => port,
        }
    }
}

/// Both control queues.
pub(super) struct Control {
    receive: Virtqueue,
    transmit: Virtqueue,
    /// `BUFFERS` for messages of the device, then `AT_ONCE` for messages to it.
    memory: DmaBuffer,
    /// What is to be said, when there is room.
    waiting: VecDeque<[u8; MESSAGE]>,
}

impl Control {
    /// With a buffer for each message that the device may send.
    pub fn new(receive: Virtqueue, transmit: Virtqueue, dma: &Rc<dyn Dma>) -> Result<Control, InitError> {
        let memory = DmaBuffer::new(dma, usize::from(BUFFERS + AT_ONCE) * BUFFER)?;
        let mut control = Control { receive, transmit, memory, waiting: VecDeque::new() };
        for buffer in 0..BUFFERS.min(control.receive.size()) {
            control.give(buffer);
        }
        Ok(control)
    }

    fn give(&mut self, buffer: u16) {
        let phys = self.memory.phys(usize::from(buffer) * BUFFER);
        self.receive.add(&[Segment { phys, len: BUFFER as u32, device_writes: true }], buffer);
    }

    /// Tells the device that there is a driver: it tells its ports.
    pub fn begin(&mut self) {
        self.receive.publish();
        self.say(NO_PORT, event::DEVICE_READY, 1);
    }

    /// The driver can use a port, or cannot.
    pub fn ready(&mut self, port: u32, can: bool) {
        self.say(port, event::PORT_READY, u16::from(can));
    }

    /// The driver takes what comes by a port.
    pub fn open(&mut self, port: u32) {
        self.say(port, event::PORT_OPEN, 1);
    }

    fn say(&mut self, port: u32, event: u16, value: u16) {
        let mut message = [0; MESSAGE];
        message[..4].copy_from_slice(&port.to_le_bytes());
        message[4..6].copy_from_slice(&event.to_le_bytes());
        message[6..].copy_from_slice(&value.to_le_bytes());
        self.waiting.push_back(message);
    }

    /// The next thing that the device said.
    pub fn next(&mut self) -> Result<Option<Event>, QueueFault> {
        // Answers to what the device has taken are here before it is taken back, and have their buffers.
        while let Some(used) = self.receive.pop()? {
            let event = self.read(usize::from(used.token) * BUFFER, used.written as usize);
            self.give(used.token);
            self.receive.publish();
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn read(&self, at: usize, len: usize) -> Option<Event> {
        let (port, event) = (self.memory.read32(at), self.memory.read16(at + 4));
        let value = self.memory.read16(at + 6);
        if len < MESSAGE {
            log::warn!(target: "virtio", "console: a control message of {len} bytes is not used");
            return None;
        }
        Some(match event {
            event::PORT_ADD => Event::Added(port),
            event::PORT_REMOVE => Event::Removed(port),
            event::CONSOLE_PORT => Event::Console(port),
            event::PORT_OPEN => Event::Connected(port, value != 0),
            event::PORT_NAME => {
                // SAFETY: the device has used the buffer's only descriptor, and it is given again only afterwards.
                let name = unsafe { self.memory.bytes(at + MESSAGE, len - MESSAGE) };
                // QEMU counts the zero behind it.
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                Event::Named(port, String::from_utf8_lossy(name).into_owned())
            }
            // Nothing here depends on the size of a terminal.
            event::RESIZE => return None,
            other => {
                log::debug!(target: "virtio", "console: control event {other} of port {port} is not used");
                return None;
            }
        })
    }

    /// Sends what waits, as soon as the device has taken everything before; asks for interrupts. True when the device has said
    /// something meanwhile.
    pub fn finish(&mut self) -> Result<bool, QueueFault> {
        while self.transmit.pop()?.is_some() {}
        if self.transmit.in_flight() == 0 {
            for slot in 0..AT_ONCE.min(self.transmit.size()) {
                let Some(message) = self.waiting.pop_front() else { break };
                let at = usize::from(BUFFERS + slot) * BUFFER;
                for (offset, byte) in message.into_iter().enumerate() {
                    self.memory.write8(at + offset, byte);
                }
                let segment =
                    Segment { phys: self.memory.phys(at), len: MESSAGE as u32, device_writes: false };
                self.transmit.add(&[segment], slot);
            }
            self.transmit.publish();
        }
        let taken = self.transmit.in_flight() > 0 && self.transmit.request_interrupt();
        Ok(self.receive.request_interrupt() || taken)
    }

    /// Nothing is under way, as far as this side knows.
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.transmit.in_flight() == 0
    }

    /// See `DmaBuffer::leak`.
    pub fn leak(&mut self) {
        self.receive.leak();
        self.transmit.leak();
        self.memory.leak();
    }
}
