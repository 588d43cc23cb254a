//! The echo service over TCP (RFC 862): what comes in goes out. For measurements beside a role's own protocol.

use alloc::rc::Rc;
use alloc::vec;
use core::cell::Cell;
use core::time::Duration;
use embedded_io_async::{Read, Write};
use keelson_exec::Handle;
use keelson_net::{Stack, TcpListener, TcpOptions, TcpStream};

/// The well-known port.
pub const PORT: u16 = 7;
/// Connections at a time; others are reset.
const CONNECTIONS: usize = 64;
/// Bytes passed on at once.
const BUFFER: usize = 64 << 10;

/// Starts the service. The log tells if it cannot.
pub fn start(handle: &Handle, stack: &Stack) {
    let options = TcpOptions {
        receive_buffer: 4 * BUFFER,
        send_buffer: 4 * BUFFER,
        keep_alive: Some(Duration::from_secs(60)),
        ..TcpOptions::default()
    };
    match stack.listen(PORT, options) {
        Ok(listener) => {
            log::info!(target: "echo", "TCP port {PORT} returns what it is sent");
            handle.spawn("echo", accept(handle.clone(), listener));
        }
        Err(error) => log::error!(target: "echo", "no echo service: {error}"),
    }
}

async fn accept(handle: Handle, listener: TcpListener) {
    let open = Rc::new(Cell::new(0));
    loop {
        let stream = listener.accept().await;
        if open.get() >= CONNECTIONS {
            log::debug!(target: "echo", "{} is one too many of {CONNECTIONS}", stream.peer());
            stream.abort();
            continue;
        }
        open.set(open.get() + 1);
        let open = open.clone();
        handle.spawn("echo", async move {
            echo(stream).await;
            open.set(open.get() - 1);
        });
    }
}

/// Until the peer sends no more, or is gone.
async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..len) else { return };
        if stream.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;
    use keelson_hal::NetFeatures;
    use keelson_net_sim::{Faults, Lab};

    #[test]
    fn everything_comes_back() {
        let lab = Lab::new(1, Faults { loss: 2, ..Faults::default() });
        let (server, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        let (client, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
        start(&lab.handle(), &server);
        let address = SocketAddr::from(([10, 0, 0, 1], PORT));
        let handle = lab.handle();
        let received = lab.run(async move {
            let (mut reader, mut writer) =
                client.connect(address, Default::default()).await.unwrap().into_split();
            let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 253) as u8).collect();
            let expected = sent.clone();
            handle.spawn("writer", async move {
                writer.write_all(&sent).await.unwrap();
                writer.shutdown();
            });
            let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(len @ 1..) = reader.read(&mut buffer).await {
                received.extend_from_slice(&buffer[..len]);
            }
            received == expected
        });
        assert!(received);
    }

    #[test]
    fn connections_are_bounded() {
        let lab = Lab::new(2, Faults::default());
        let (server, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        let (client, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
        start(&lab.handle(), &server);
        let address = SocketAddr::from(([10, 0, 0, 1], PORT));
        let (first, last) = lab.run(async move {
            let mut open = Vec::new();
            for _ in 0..=CONNECTIONS {
                open.push(client.connect(address, Default::default()).await.unwrap());
            }
            let mut byte = [0];
            let mut answers = Vec::new();
            for stream in [0, CONNECTIONS] {
                let sent = open[stream].write_all(b"x").await.is_ok();
                answers.push(sent && matches!(open[stream].read(&mut byte).await, Ok(1)));
            }
            (answers[0], answers[1])
        });
        assert!(first && !last);
    }
}
