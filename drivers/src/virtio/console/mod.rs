//! virtio-console (virtio 1.2 section 5.3): consoles, and ports by which a program of the host talks with the machine.
//!
//! ```text
//!   VirtioConsole
//!     control   queues 2, 3        which ports there are, what they are called, whether somebody is at the other end
//!     port 0    rx 0 / tx 1        the console of a device without control queues
//!     port N    rx 2N+2 / tx 2N+3  a console, or a stream of bytes with a name
//!        Port      one of them: a Console, or accept() for whoever connects
//!        Reader, Writer            as long as that one stays
//! ```
//!
//! Memory: two rings of 4 KiB for each port that could be, 128 KiB of buffers for each that is.

mod control;
mod line;
mod port;

pub use line::{Port, PortCounters, Reader, Writer};

use self::control::{Control, Event};
use self::port::State;
use super::{QueueFault, Transport, Virtqueue, device_type, feature, negotiate, start};
use crate::InitError;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::mem;
use core::time::Duration;
use keelson_hal::{Clock, Dma, Interrupt};

/// The device has control queues, and ports beside port 0 (virtio 1.2 section 5.3.3).
const MULTIPORT: u64 = 1 << 1;
/// Offset of `max_nr_ports` in the device configuration (section 5.3.4).
const MAX_NR_PORTS: usize = 4;
/// More ports than these of a device are not used.
const MOST_PORTS: u32 = 64;
/// The device has this long to tell what ports there are. QEMU tells it before it takes the next request.
const INTRODUCTION: Duration = Duration::from_secs(1);

/// A virtio console with its ports.
pub struct VirtioConsole {
    transport: Box<dyn Transport>,
    dma: Rc<dyn Dma>,
    clock: Rc<dyn Clock>,
    inner: RefCell<Inner>,
}

struct Inner {
    control: Option<Control>,
    /// By number, whether they are there or not: a device's queues are all set up before it starts.
    ports: Vec<State>,
    gone: bool,
}

/// Receive and transmit queue of a port (section 5.3.2).
fn queues_of(port: u16) -> [u16; 2] {
    if port == 0 { [0, 1] } else { [2 * port + 2, 2 * port + 3] }
}

impl VirtioConsole {
    /// Brings the device up, and waits until it has said what ports there are.
    pub fn new(
        transport: Box<dyn Transport>,
        dma: Rc<dyn Dma>,
        clock: Rc<dyn Clock>,
    ) -> Result<Rc<VirtioConsole>, InitError> {
        let inner = Inner::build(&*transport, &dma).inspect_err(|_| {
            transport.reset();
        })?;
        start(&*transport);
        let device = Rc::new(VirtioConsole { transport, dma, clock, inner: RefCell::new(inner) });
        device.introduce()?;
        Ok(device)
    }

    fn introduce(&self) -> Result<(), InitError> {
        let mut inner = self.inner.borrow_mut();
        let Some(control) = &mut inner.control else {
            let Some(console) = inner.ports.first_mut() else { return Ok(()) };
            console.is_console = true;
            return console.activate(&self.dma);
        };
        control.begin();
        let deadline = self.clock.now() + INTRODUCTION;
        while !inner.gone && !inner.turn(self) {
            if self.clock.now() > deadline {
                log::warn!(target: "virtio", "console: the device has not told all of its ports in time");
                break;
            }
            core::hint::spin_loop();
        }
        Ok(())
    }

    /// The consoles among the ports that there are.
    pub fn consoles(self: &Rc<Self>) -> Vec<Rc<Port>> {
        self.ports_where(|port| port.is_console)
    }

    /// The other ports, which have names.
    pub fn ports(self: &Rc<Self>) -> Vec<Rc<Port>> {
        self.ports_where(|port| !port.is_console && !port.name.is_empty())
    }

    fn ports_where(self: &Rc<Self>, wanted: impl Fn(&State) -> bool) -> Vec<Rc<Port>> {
        let inner = self.inner.borrow();
        let ports = inner.ports.iter().enumerate().filter(|(_, port)| port.is_active() && wanted(port));
        ports.map(|(number, port)| Rc::new(Port::new(self.clone(), number, port.name.clone()))).collect()
    }

    /// Task of the device: wakes whoever waits whenever the device interrupts. Never ends.
    pub async fn service(self: Rc<Self>, interrupt: Rc<dyn Interrupt>) {
        loop {
            self.handle_interrupt();
            poll_fn(|cx| interrupt.poll_fired(cx)).await;
        }
    }

    /// One interrupt.
    pub fn handle_interrupt(&self) {
        self.transport.acknowledge_interrupt();
        let inner = &mut *self.inner.borrow_mut();
        if inner.gone {
            return;
        }
        inner.turn(self);
        inner.ports.iter_mut().for_each(State::wake_for_work);
    }
}

impl Inner {
    fn build(transport: &dyn Transport, dma: &Rc<dyn Dma>) -> Result<Inner, InitError> {
        let features = negotiate(transport, device_type::CONSOLE, |_| MULTIPORT | feature::EVENT_IDX)?;
        let event_idx = features & feature::EVENT_IDX != 0;
        let queue = |index| Virtqueue::new(transport, dma, index, event_idx);
        let (control, count) = match features & MULTIPORT {
            0 => (None, 1),
            _ => {
                let most = transport.config32(MAX_NR_PORTS);
                (Some(Control::new(queue(2)?, queue(3)?, dma)?), most.clamp(1, MOST_PORTS))
            }
        };
        let ports = (0..count as u16).map(|port| {
            let [receive, transmit] = queues_of(port);
            Ok(State::new(queue(receive)?, queue(transmit)?))
        });
        Ok(Inner { control, ports: ports.collect::<Result<_, _>>()?, gone: false })
    }

    /// Does what the device asks for on its control queue; true when neither side has anything to say.
    fn turn(&mut self, device: &VirtioConsole) -> bool {
        self.converse(&device.dma).unwrap_or_else(|fault| {
            self.shut_off(device, fault);
            true
        })
    }

    fn converse(&mut self, dma: &Rc<dyn Dma>) -> Result<bool, QueueFault> {
        loop {
            let Some(control) = &mut self.control else { return Ok(true) };
            match control.next()? {
                Some(event) => self.happened(event, dma)?,
                None if control.finish()? => {}
                None => return Ok(control.is_quiet()),
            }
        }
    }

    fn happened(&mut self, event: Event, dma: &Rc<dyn Dma>) -> Result<(), QueueFault> {
        let Some(control) = &mut self.control else { return Ok(()) };
        let number = event.port();
        let Some(port) = usize::try_from(number).ok().and_then(|number| self.ports.get_mut(number)) else {
            log::warn!(target: "virtio", "console: port {number} is one too many and not used");
            return Ok(());
        };
        match event {
            Event::Added(_) => match port.activate(dma) {
                Ok(()) => control.ready(number, true),
                Err(error) => {
                    log::warn!(target: "virtio", "console: port {number} is left out: {error}");
                    control.ready(number, false);
                }
            },
            Event::Console(_) => {
                port.is_console = true;
                control.open(number);
            }
            Event::Named(_, name) => {
                port.name = name;
                control.open(number);
            }
            Event::Connected(_, connected) => port.connected(connected)?,
            Event::Removed(_) => {
                log::info!(target: "virtio", "console: port {number} ({}) was taken away", port.name);
                port.connected(false)?;
            }
        }
        Ok(())
    }

    fn shut_off(&mut self, device: &VirtioConsole, fault: QueueFault) {
        log::error!(target: "virtio", "console: device broke the rules of its queue and was shut off: {fault}");
        self.stop(&*device.transport);
    }

    fn stop(&mut self, transport: &dyn Transport) {
        if mem::replace(&mut self.gone, true) {
            return;
        }
        if !transport.reset() {
            // The device may still write.
            self.ports.iter_mut().for_each(State::leak);
            self.control.iter_mut().for_each(Control::leak);
        }
        self.ports.iter_mut().for_each(State::wake);
    }
}

impl Drop for VirtioConsole {
    fn drop(&mut self) {
        self.inner.get_mut().stop(&*self.transport);
    }
}

#[cfg(test)]
mod tests;
