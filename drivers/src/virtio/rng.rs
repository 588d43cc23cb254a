//! virtio-rng (virtio 1.2 section 5.4): entropy from the host, read with a bounded wait.

use super::compat::{CompatTransport, GlobalHal};
use super::{Transport, device_type, negotiate, start};
use crate::InitError;
use alloc::boxed::Box;
use alloc::rc::Rc;
use core::fmt;
use core::mem::{self, ManuallyDrop};
use core::time::Duration;
use keelson_hal::{Clock, Dma};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceType, Transport as _};

const QUEUE: u16 = 0;
const QUEUE_SIZE: usize = 8;
/// Bytes asked for at once.
const BLOCK: usize = 64;
/// Time the device has for one block.
const PATIENCE: Duration = Duration::from_millis(100);

/// Why no random bytes came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RngError {
    /// Nothing within 100 ms. The request stays with the device, a later read may succeed.
    Timeout,
    /// The device broke the rules and was shut off.
    Gone,
}

impl fmt::Display for RngError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RngError::Timeout => "entropy device gave nothing for 100 ms",
            RngError::Gone => "entropy device was shut off",
        })
    }
}

impl core::error::Error for RngError {}

/// A virtio entropy device. `D::default()` names the machine's DMA allocator.
pub struct VirtioRng<D: Dma + Default> {
    transport: CompatTransport,
    queue: ManuallyDrop<VirtQueue<GlobalHal<D>, QUEUE_SIZE>>,
    buffer: Box<[u8; BLOCK]>,
    /// Token of the request the device has; the buffer is the device's meanwhile.
    pending: Option<u16>,
    clock: Rc<dyn Clock>,
    gone: bool,
}

impl<D: Dma + Default> VirtioRng<D> {
    /// Brings the device up.
    pub fn new(transport: Box<dyn Transport>, clock: Rc<dyn Clock>) -> Result<VirtioRng<D>, InitError> {
        negotiate(&*transport, device_type::ENTROPY, |_| 0)?;
        if transport.queue_max_size(QUEUE) < QUEUE_SIZE as u16 {
            transport.reset();
            return Err(InitError::NoQueue(QUEUE));
        }
        let mut transport = CompatTransport::new(transport, DeviceType::EntropySource);
        let queue = VirtQueue::new(&mut transport, QUEUE, false, false).map_err(|_| {
            transport.inner.reset();
            InitError::NoMemory(QUEUE_SIZE * 32)
        })?;
        if !transport.has_queue(QUEUE) {
            transport.inner.reset();
            return Err(InitError::NoQueue(QUEUE));
        }
        start(&*transport.inner);
        Ok(VirtioRng {
            transport,
            queue: ManuallyDrop::new(queue),
            buffer: Box::new([0; BLOCK]),
            pending: None,
            clock,
            gone: false,
        })
    }

    /// Fills `out` with bytes from the host, waiting at most 100 ms for every 64 of them.
    pub fn read(&mut self, mut out: &mut [u8]) -> Result<(), RngError> {
        while !out.is_empty() {
            let got = self.read_block()?.min(out.len());
            let (now, rest) = mem::take(&mut out).split_at_mut(got);
            now.copy_from_slice(&self.buffer[..got]);
            // Whoever reads this memory later does not learn keys from it.
            self.buffer.fill(0);
            out = rest;
        }
        Ok(())
    }

    /// Waits for one block; its length is at least 1 and at most [`BLOCK`].
    fn read_block(&mut self) -> Result<usize, RngError> {
        let deadline = self.clock.now() + PATIENCE;
        loop {
            if self.gone {
                return Err(RngError::Gone);
            }
            let token = match self.pending {
                Some(token) => token,
                None => self.request()?,
            };
            if self.queue.can_pop() {
                // SAFETY: the same buffer as in `request`, untouched since.
                let popped = unsafe { self.queue.pop_used(token, &[], &mut [&mut self.buffer[..]]) };
                match popped {
                    Ok(len) if len as usize <= BLOCK => {
                        self.pending = None;
                        if len > 0 {
                            return Ok(len as usize);
                        }
                    }
                    _ => return Err(self.shut_off()),
                }
            }
            if self.clock.now() > deadline {
                return Err(RngError::Timeout);
            }
            core::hint::spin_loop();
        }
    }

    fn request(&mut self) -> Result<u16, RngError> {
        // SAFETY: the buffer lives as long as the queue and is not looked at until the token is popped.
        let added = unsafe { self.queue.add(&[], &mut [&mut self.buffer[..]]) };
        let Ok(token) = added else { return Err(self.shut_off()) };
        self.pending = Some(token);
        self.transport.notify(QUEUE);
        Ok(token)
    }

    fn shut_off(&mut self) -> RngError {
        log::error!(target: "virtio", "rng: device broke the rules of its queue and was shut off");
        self.stop();
        RngError::Gone
    }

    fn stop(&mut self) {
        if mem::replace(&mut self.gone, true) {
            return;
        }
        if self.transport.inner.reset() {
            // SAFETY: once, because of `gone`; the queue is not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.queue) };
        } else {
            // The device may still write: its queue is never dropped, its buffer is given up.
            mem::forget(mem::replace(&mut self.buffer, Box::new([0; BLOCK])));
        }
    }
}

impl<D: Dma + Default> Drop for VirtioRng<D> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeDevice, TestClock, TestDma};

    fn rng(device: &FakeDevice) -> VirtioRng<TestDma> {
        VirtioRng::new(device.pci(), Rc::new(TestClock::default())).unwrap()
    }

    #[test]
    fn reads_across_blocks_and_short_answers() {
        let device = FakeDevice::new(device_type::ENTROPY, 0, &[], &[8]);
        device.on_notify(|device, _| {
            let mut byte = 0;
            while let Some(chain) = device.pop(0) {
                byte += 1;
                device.complete(0, &chain, &[byte; 40]);
            }
        });
        let mut rng = rng(&device);
        let mut out = [0; 100];
        rng.read(&mut out).unwrap();
        assert!(out.iter().all(|&byte| byte != 0));
    }

    #[test]
    fn silent_device_costs_a_bounded_wait_and_may_answer_later() {
        let device = FakeDevice::new(device_type::ENTROPY, 0, &[], &[8]);
        let mut rng = rng(&device);
        assert_eq!(rng.read(&mut [0; 4]), Err(RngError::Timeout));
        assert_eq!(rng.read(&mut [0; 4]), Err(RngError::Timeout));
        let chain = device.pop(0).unwrap();
        assert!(device.pop(0).is_none(), "one request only");
        device.complete(0, &chain, &[7; 64]);
        let mut out = [0; 4];
        rng.read(&mut out).unwrap();
        assert_eq!(out, [7; 4]);
    }

    #[test]
    fn impossible_length_shuts_the_device_off() {
        let device = FakeDevice::new(device_type::ENTROPY, 0, &[], &[8]);
        device.on_notify(|device, _| {
            let chain = device.pop(0).unwrap();
            device.push_used(0, u32::from(chain.head), 65);
        });
        let mut rng = rng(&device);
        assert_eq!(rng.read(&mut [0; 4]), Err(RngError::Gone));
        assert_eq!(rng.read(&mut [0; 4]), Err(RngError::Gone));
        assert_eq!(device.status(), 0, "the device was reset");
    }

    #[test]
    fn drop_resets_before_memory_is_freed() {
        let device = FakeDevice::new(device_type::ENTROPY, 0, &[], &[8]);
        drop(rng(&device));
        assert_eq!(device.status(), 0);
    }
}
