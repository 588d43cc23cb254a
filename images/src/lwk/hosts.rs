//! Where hosts come in: a TCP port, and serial ports.

use super::cryptography::Test;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::time::Duration;
use embedded_io_async::{ErrorType, Read, Write};
use keelson_drivers::virtio::console::{self, Port};
use keelson_exec::Handle;
use keelson_lwk::options::Listen;
use keelson_lwk::session::{Peer, Server};
use keelson_net::{ReadHalf, Stack, TcpError, TcpListener, TcpOptions, WriteHalf};
use keelson_ops::metrics::{Exposition, Kind};

/// Connections of hosts: a silent one is noticed within seconds, so that its programs do not hold processors.
const CONNECTION: TcpOptions = TcpOptions {
    receive_buffer: 512 << 10,
    send_buffer: 512 << 10,
    backlog: 128,
    keep_alive: Some(Duration::from_secs(2)),
    timeout: Some(Duration::from_secs(6)),
    ack_delay: Some(Duration::from_millis(10)),
    nagle: false,
    linger: Duration::from_secs(5),
};

/// The places where hosts may connect.
pub(super) struct Doors {
    tcp: Option<(u16, TcpListener)>,
    ports: Vec<Rc<Port>>,
}

impl Doors {
    /// Those that the command line asks for, of the serial ports that are there. Fails in words.
    pub fn open(stack: &Stack, there: &[Rc<Port>], listen: &Listen) -> Result<Doors, String> {
        let listener =
            |port| stack.listen(port, CONNECTION).map_err(|error| format!("listen={port}: {error}"));
        let tcp = listen.port.map(|port| Ok::<_, String>((port, listener(port)?))).transpose()?;
        let ports: Vec<_> = there.iter().filter(|port| listen.names(port.name())).cloned().collect();
        match &listen.serial {
            Some(name) if ports.is_empty() => Err(no_ports(name, there)),
            _ => Ok(Doors { tcp, ports }),
        }
    }

    /// Lets hosts in, once the cryptography is `tested`; returns the serial ports.
    pub fn serve(
        self,
        handle: &Handle,
        server: Rc<Server>,
        tested: Arc<Test>,
        secured: bool,
    ) -> Vec<Rc<Port>> {
        match &self.tcp {
            Some((port, _)) if secured => {
                log::info!(target: "lwk", "hosts may connect to TCP port {port} with the key")
            }
            Some((port, _)) => {
                log::warn!(target: "lwk", "hosts may connect to TCP port {port}, all of them (insecure=1)")
            }
            None => {}
        }
        match &self.ports[..] {
            [] => {}
            [only] => log::info!(target: "lwk", "hosts may connect to serial port {}", only.name()),
            [first, .., last] => {
                let (count, first, last) = (self.ports.len(), first.name(), last.name());
                log::info!(target: "lwk", "hosts may connect to {count} serial ports, {first} to {last}");
            }
        }
        let ports = self.ports.clone();
        handle.spawn("lwk-accept", self.accept(handle.clone(), server, tested));
        ports
    }

    async fn accept(self, handle: Handle, server: Rc<Server>, tested: Arc<Test>) {
        if let Err(wrong) = tested.outcome().await {
            log::error!(
                target: "lwk",
                "no host may connect: the self-test of the cryptography failed: {wrong}; this processor or its memory is defective"
            );
            return;
        }
        for port in self.ports {
            handle.spawn("lwk-port", accept_serial(port, server.clone()));
        }
        let Some((_, listener)) = self.tcp else { return };
        loop {
            let stream = listener.accept().await;
            let peer = Peer::Tcp(stream.peer().to_string());
            let (reader, writer) = stream.into_split();
            handle.spawn("lwk-host", server.clone().serve(Reader::Tcp(reader), Writer::Tcp(writer), peer));
        }
    }
}

/// One connection after the other.
async fn accept_serial(port: Rc<Port>, server: Rc<Server>) {
    loop {
        let (reader, writer) = port.accept().await;
        let peer = Peer::Serial(port.name().to_string());
        server.clone().serve(Reader::Serial(reader), Writer::Serial(writer), peer).await;
    }
}

fn no_ports(name: &str, there: &[Rc<Port>]) -> String {
    let names: Vec<&str> = there.iter().map(|port| port.name()).collect();
    let there = if names.is_empty() { String::from("none") } else { names.join(", ") };
    format!(
        "listen=serial:{name}: no serial port has that name; there are: {there} (QEMU: -device virtserialport,name={name})"
    )
}

/// What went through the ports.
pub(super) fn collect(to: &mut Exposition, ports: &[Rc<Port>]) {
    let counted = || ports.iter().map(|port| (port.name(), port.counters()));
    let help = "1 when a host has the other end of a serial port open.";
    let mut family = to.family("keelson_lwk_serial_connected", Kind::Gauge, help);
    for (name, counters) in counted() {
        family.sample(&[("port", name)], u64::from(counters.connected));
    }
    let help = "Bytes of a serial port, by direction.";
    let mut family = to.family("keelson_lwk_serial_bytes_total", Kind::Counter, help);
    for (name, counters) in counted() {
        family.sample(&[("port", name), ("direction", "receive")], counters.received);
        family.sample(&[("port", name), ("direction", "transmit")], counters.sent);
    }
}

/// What comes from a host: one type for both kinds, so that there is one copy of all that is done with it.
enum Reader {
    Tcp(ReadHalf),
    Serial(console::Reader),
}

impl ErrorType for Reader {
    type Error = TcpError;
}

impl Read for Reader {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, TcpError> {
        match self {
            Reader::Tcp(half) => half.read(into).await,
            Reader::Serial(half) => Ok(poll_fn(|cx| half.poll_read(cx, into)).await.unwrap_or(0)),
        }
    }
}

/// What goes to a host.
enum Writer {
    Tcp(WriteHalf),
    Serial(console::Writer),
}

impl ErrorType for Writer {
    type Error = TcpError;
}

impl Write for Writer {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TcpError> {
        match self {
            Writer::Tcp(half) => half.write(bytes).await,
            Writer::Serial(half) => poll_fn(|cx| half.poll_write(cx, bytes)).await.ok_or(TcpError::Reset),
        }
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        match self {
            Writer::Tcp(half) => half.flush().await,
            // The device has it.
            Writer::Serial(_) => Ok(()),
        }
    }
}
