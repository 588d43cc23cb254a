//! virtio-rng (virtio 1.2 section 5.4): entropy from the host, read with a bounded wait.

use super::{Segment, Transport, Virtqueue, device_type, negotiate, start};
use crate::InitError;
use crate::dma::DmaBuffer;
use alloc::boxed::Box;
use alloc::rc::Rc;
use core::fmt;
use core::mem;
use core::time::Duration;
use keelson_hal::{Clock, Dma};

const QUEUE: u16 = 0;
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

/// A virtio entropy device.
pub struct VirtioRng {
    transport: Box<dyn Transport>,
    queue: Virtqueue,
    /// One block; the device's while a request is in flight.
    buffer: DmaBuffer,
    clock: Rc<dyn Clock>,
    gone: bool,
}

impl VirtioRng {
    /// Brings the device up.
    pub fn new(
        transport: Box<dyn Transport>,
        dma: &Rc<dyn Dma>,
        clock: Rc<dyn Clock>,
    ) -> Result<VirtioRng, InitError> {
        negotiate(&*transport, device_type::ENTROPY, |_| 0)?;
        let memory = || Ok((Virtqueue::new(&*transport, dma, QUEUE, false)?, DmaBuffer::new(dma, BLOCK)?));
        let (queue, buffer) = memory().inspect_err(|_| {
            transport.reset();
        })?;
        start(&*transport);
        Ok(VirtioRng { transport, queue, buffer, clock, gone: false })
    }

    /// Fills `out` with bytes from the host, waiting at most 100 ms for every 64 of them.
    pub fn read(&mut self, mut out: &mut [u8]) -> Result<(), RngError> {
        while !out.is_empty() {
            let got = self.read_block()?.min(out.len());
            let (now, rest) = mem::take(&mut out).split_at_mut(got);
            for (at, byte) in now.iter_mut().enumerate() {
                *byte = self.buffer.read8(at);
            }
            // Whoever reads this memory later does not learn keys from it.
            (0..BLOCK).for_each(|at| self.buffer.write8(at, 0));
            out = rest;
        }
        Ok(())
    }

    /// Waits for one block; its length is at least 1 and at most [`BLOCK`].
    fn read_block(&mut self) -> Result<usize, RngError> {
        let deadline = self.clock.now() + PATIENCE;
        while !self.gone {
            if self.queue.in_flight() == 0 {
                let segment = Segment { phys: self.buffer.phys(0), len: BLOCK as u32, device_writes: true };
                self.queue.add(&[segment], 0);
                self.queue.publish();
            }
            match self.queue.pop() {
                Ok(Some(used)) if used.written > 0 => return Ok(used.written as usize),
                // Nothing was written: once more.
                Ok(Some(_)) => {}
                Ok(None) => core::hint::spin_loop(),
                Err(fault) => {
                    log::error!(target: "virtio", "rng: device broke the rules of its queue and was shut off: {fault}");
                    self.stop();
                    break;
                }
            }
            if self.clock.now() > deadline {
                return Err(RngError::Timeout);
            }
        }
        Err(RngError::Gone)
    }

    fn stop(&mut self) {
        if !mem::replace(&mut self.gone, true) && !self.transport.reset() {
            // The device may still write.
            self.queue.leak();
            self.buffer.leak();
        }
    }
}

impl Drop for VirtioRng {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeDevice, TestClock, TestDma};

    fn rng(device: &FakeDevice) -> VirtioRng {
        let dma: Rc<dyn Dma> = Rc::new(TestDma);
        VirtioRng::new(device.pci(), &dma, Rc::new(TestClock::default())).unwrap()
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
