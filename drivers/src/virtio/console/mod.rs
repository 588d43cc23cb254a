//! virtio-console (virtio 1.2 section 5.3), port 0: bytes in both directions.

use super::compat::{CompatTransport, GlobalHal};
use super::{Transport, device_type, negotiate, start};
use crate::InitError;
use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::future::poll_fn;
use core::mem::{self, ManuallyDrop};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use keelson_hal::{Clock, Console, Dma, Interrupt};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceType, Transport as _};

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const QUEUE_SIZE: usize = 2;
const BUFFER: usize = 512;
/// Time the device has to take one buffer; afterwards output is dropped until it does.
const PATIENCE: Duration = Duration::from_millis(10);

type Queue<D> = VirtQueue<GlobalHal<D>, QUEUE_SIZE>;

/// A virtio console. `D::default()` names the machine's DMA allocator.
pub struct VirtioConsole<D: Dma + Default> {
    inner: RefCell<Inner<D>>,
    clock: Rc<dyn Clock>,
}

struct Inner<D: Dma + Default> {
    transport: CompatTransport,
    receive: ManuallyDrop<Queue<D>>,
    transmit: ManuallyDrop<Queue<D>>,
    input: Box<[u8; BUFFER]>,
    /// What of `input` has not been read yet.
    unread: core::ops::Range<usize>,
    /// Token of the buffer the device fills; `input` is the device's meanwhile.
    filling: Option<u16>,
    output: Box<[u8; BUFFER]>,
    /// Token of the buffer the device sends; `output` is the device's meanwhile.
    sending: Option<u16>,
    reader: Option<Waker>,
    dropped: u64,
    gone: bool,
}

impl<D: Dma + Default> VirtioConsole<D> {
    /// Brings the device up.
    pub fn new(transport: Box<dyn Transport>, clock: Rc<dyn Clock>) -> Result<VirtioConsole<D>, InitError> {
        negotiate(&*transport, device_type::CONSOLE, |_| 0)?;
        for queue in [RECEIVE, TRANSMIT] {
            if transport.queue_max_size(queue) < QUEUE_SIZE as u16 {
                transport.reset();
                return Err(InitError::NoQueue(queue));
            }
        }
        let mut transport = CompatTransport::new(transport, DeviceType::Console);
        let mut queue = |index| {
            Queue::<D>::new(&mut transport, index, false, false)
                .map_err(|_| InitError::NoMemory(QUEUE_SIZE * 32))
        };
        let queues = queue(RECEIVE).and_then(|receive| Ok((receive, queue(TRANSMIT)?)));
        let (receive, mut transmit) = queues.inspect_err(|_| {
            transport.inner.reset();
        })?;
        if let Some(&refused) = [RECEIVE, TRANSMIT].iter().find(|&&queue| !transport.has_queue(queue)) {
            transport.inner.reset();
            return Err(InitError::NoQueue(refused));
        }
        // Sending is waited for in place.
        transmit.set_dev_notify(false);
        start(&*transport.inner);
        let mut inner = Inner {
            transport,
            receive: ManuallyDrop::new(receive),
            transmit: ManuallyDrop::new(transmit),
            input: Box::new([0; BUFFER]),
            unread: 0..0,
            filling: None,
            output: Box::new([0; BUFFER]),
            sending: None,
            reader: None,
            dropped: 0,
            gone: false,
        };
        inner.refill();
        Ok(VirtioConsole { inner: RefCell::new(inner), clock })
    }

    /// Task of the device: wakes the reader whenever the device interrupts. Never ends.
    pub async fn service(self: Rc<Self>, interrupt: Rc<dyn Interrupt>) {
        loop {
            poll_fn(|cx| interrupt.poll_fired(cx)).await;
            self.handle_interrupt();
        }
    }

    /// One interrupt.
    pub fn handle_interrupt(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.transport.inner.acknowledge_interrupt();
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }
}

impl<D: Dma + Default> Console for VirtioConsole<D> {
    fn write(&self, bytes: &[u8]) {
        let inner = &mut *self.inner.borrow_mut();
        for chunk in bytes.chunks(BUFFER) {
            if inner.output_busy() || inner.gone {
                inner.dropped += chunk.len() as u64;
                continue;
            }
            inner.send(chunk);
            let deadline = self.clock.now() + PATIENCE;
            while inner.output_busy() && self.clock.now() <= deadline {
                core::hint::spin_loop();
            }
            // A device that is late has the bytes nevertheless: they are not counted, what follows is.
        }
    }

    fn dropped(&self) -> u64 {
        self.inner.borrow().dropped
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        let inner = &mut *self.inner.borrow_mut();
        inner.fetch();
        let count = inner.unread.len().min(buffer.len());
        if count == 0 {
            inner.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buffer[..count].copy_from_slice(&inner.input[inner.unread.start..][..count]);
        inner.unread.start += count;
        inner.refill();
        Poll::Ready(count)
    }
}

impl<D: Dma + Default> Inner<D> {
    /// Gives the input buffer to the device when everything in it has been read.
    fn refill(&mut self) {
        if self.filling.is_some() || !self.unread.is_empty() || self.gone {
            return;
        }
        // SAFETY: the buffer lives as long as the queue and is not looked at until the token is popped.
        match unsafe { self.receive.add(&[], &mut [&mut self.input[..]]) } {
            Ok(token) => {
                self.filling = Some(token);
                self.transport.notify(RECEIVE);
            }
            Err(_) => self.shut_off(),
        }
    }

    /// Takes the input buffer back when the device has filled it.
    fn fetch(&mut self) {
        if self.gone || !self.receive.can_pop() {
            return;
        }
        let Some(token) = self.filling else { return self.shut_off() };
        // SAFETY: the same buffer as in `refill`, untouched since.
        match unsafe { self.receive.pop_used(token, &[], &mut [&mut self.input[..]]) } {
            Ok(len) if len as usize <= BUFFER => {
                self.filling = None;
                self.unread = 0..len as usize;
                self.refill();
            }
            _ => self.shut_off(),
        }
    }

    fn send(&mut self, chunk: &[u8]) {
        self.output[..chunk.len()].copy_from_slice(chunk);
        // SAFETY: the buffer lives as long as the queue and is not written until the token is popped. The
        // whole buffer is given up to the length of the chunk only, and taken back with the same length.
        match unsafe { self.transmit.add(&[&self.output[..chunk.len()]], &mut []) } {
            Ok(token) => {
                self.sending = Some(token);
                self.transport.notify(TRANSMIT);
            }
            Err(_) => self.shut_off(),
        }
    }

    /// True while the device has the output buffer.
    fn output_busy(&mut self) -> bool {
        let Some(token) = self.sending else { return false };
        if self.gone || !self.transmit.can_pop() {
            return !self.gone;
        }
        // SAFETY: the buffer given in `send`; its length is not used when memory is not copied (`unshare`
        // does nothing), only that there is one buffer.
        match unsafe { self.transmit.pop_used(token, &[&self.output[..1]], &mut []) } {
            Ok(_) => {
                self.sending = None;
                false
            }
            Err(_) => {
                self.shut_off();
                false
            }
        }
    }

    fn shut_off(&mut self) {
        log::error!(target: "virtio", "console: device broke the rules of its queue and was shut off");
        self.stop();
    }

    fn stop(&mut self) {
        if mem::replace(&mut self.gone, true) {
            return;
        }
        if self.transport.inner.reset() {
            // SAFETY: once, because of `gone`; the queues are not used afterwards.
            unsafe {
                ManuallyDrop::drop(&mut self.receive);
                ManuallyDrop::drop(&mut self.transmit);
            }
        } else {
            // The device may still use them: the queues are never dropped, the buffers are given up.
            mem::forget(mem::replace(&mut self.input, Box::new([0; BUFFER])));
            mem::forget(mem::replace(&mut self.output, Box::new([0; BUFFER])));
        }
    }
}

impl<D: Dma + Default> Drop for Inner<D> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeDevice, TestClock, TestDma, noop_context};

    fn console(device: &FakeDevice) -> VirtioConsole<TestDma> {
        VirtioConsole::new(device.mmio(), Rc::new(TestClock::default())).unwrap()
    }

    fn fake() -> FakeDevice {
        FakeDevice::new(device_type::CONSOLE, 0, &[], &[64, 64])
    }

    #[test]
    fn writes_arrive_whole_and_in_order() {
        let device = fake();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let sink = seen.clone();
        device.on_notify(move |device, queue| {
            while queue == TRANSMIT
                && let Some(chain) = device.pop(queue)
            {
                sink.borrow_mut().extend(device.readable(&chain));
                device.push_used(queue, u32::from(chain.head), 0);
            }
        });
        let console = console(&device);
        let text: Vec<u8> = (0..1500u32).map(|i| i as u8).collect();
        console.write(&text);
        console.write(b"end");
        assert_eq!(seen.borrow()[..1500], text);
        assert_eq!(&seen.borrow()[1500..], b"end");
        assert_eq!(console.dropped(), 0);
    }

    #[test]
    fn stuck_device_costs_one_wait_and_then_drops() {
        let device = fake();
        let console = console(&device);
        console.write(b"first");
        console.write(b"second");
        assert_eq!(console.dropped(), 6);
        let chain = device.pop(TRANSMIT).unwrap();
        assert_eq!(device.readable(&chain), b"first");
        device.push_used(TRANSMIT, u32::from(chain.head), 0);
        console.write(b"third");
        assert_eq!(console.dropped(), 6);
        assert_eq!(device.readable(&device.pop(TRANSMIT).unwrap()), b"third");
    }

    #[test]
    fn reads_what_was_typed_in_pieces() {
        let device = fake();
        let console = console(&device);
        let mut buffer = [0; 3];
        assert!(console.poll_read(&mut noop_context(), &mut buffer).is_pending());
        let chain = device.pop(RECEIVE).unwrap();
        device.complete(RECEIVE, &chain, b"hello");
        console.handle_interrupt();
        assert_eq!(console.poll_read(&mut noop_context(), &mut buffer), Poll::Ready(3));
        assert_eq!(&buffer, b"hel");
        assert_eq!(console.poll_read(&mut noop_context(), &mut buffer), Poll::Ready(2));
        assert!(console.poll_read(&mut noop_context(), &mut buffer).is_pending());
        assert!(device.pop(RECEIVE).is_some(), "the buffer is with the device again");
    }

    #[test]
    fn nonsense_from_the_device_shuts_it_off() {
        for (id, len) in [(0, 513), (1, 5), (77, 5)] {
            let device = fake();
            let console = console(&device);
            device.pop(RECEIVE).unwrap();
            device.push_used(RECEIVE, id, len);
            assert!(console.poll_read(&mut noop_context(), &mut [0; 8]).is_pending());
            assert_eq!(device.status(), 0);
            console.write(b"lost");
            assert_eq!(console.dropped(), 4);
        }
    }

    #[test]
    fn empty_input_is_not_the_end() {
        let device = fake();
        let console = console(&device);
        let chain = device.pop(RECEIVE).unwrap();
        device.push_used(RECEIVE, u32::from(chain.head), 0);
        assert!(console.poll_read(&mut noop_context(), &mut [0; 8]).is_pending());
        let chain = device.pop(RECEIVE).expect("given again");
        device.complete(RECEIVE, &chain, b"x");
        assert_eq!(console.poll_read(&mut noop_context(), &mut [0; 8]), Poll::Ready(1));
    }
}
