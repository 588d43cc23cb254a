//! What the rings of all TCP connections together may take: `Stack::limit_tcp_memory`.

use embedded_io_async::{Read, Write};
use keelson_exec::Handle;
use keelson_hal::NetFeatures;
use keelson_net::{ConnectError, ConnectOptions, Stack, TcpListener, TcpOptions, TcpStream};
use keelson_net_sim::{Faults, Lab};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Of the server's rings.
const LIMIT: usize = 2 << 20;
/// Of one ring, as the server asks for it, and as it gets it at least.
const WANTED: usize = 64 << 10;
const SMALLEST: usize = 8 << 10;
/// Of the rings of a client, which has no limit; the least there is.
const CLIENT_RING: usize = 2048;
/// Longer than anything waits for here.
const SILENCE: Duration = Duration::from_millis(500);

/// A server with the limit, a client that wants all it can get, and the connections between them.
struct Load {
    lab: Lab,
    server: Stack,
    client: Stack,
    listener: Rc<TcpListener>,
    /// Both ends of each.
    open: Vec<(TcpStream, TcpStream)>,
    /// The window in each SYN-ACK of the server: its receive ring, as far as 16 bits go.
    windows: Rc<RefCell<Vec<usize>>>,
}

impl Load {
    fn new() -> Load {
        let lab = Lab::new(1, Faults::default());
        let (server, _) = lab.host("10.0.0.1/24", NetFeatures::empty());
        let (client, _) = lab.host("10.0.0.2/24", NetFeatures::empty());
        server.limit_tcp_memory(LIMIT);
        let options = rings(WANTED);
        let listener = Rc::new(server.listen(2049, options).unwrap());
        let windows: Rc<RefCell<Vec<usize>>> = Rc::default();
        let seen = windows.clone();
        *lab.wire.tap.borrow_mut() = Some(Box::new(move |port, frame| {
            // IPv4, TCP, SYN and ACK.
            if port == 0 && frame[12..14] == [8, 0] && frame[23] == 6 && frame[47] & 0x12 == 0x12 {
                seen.borrow_mut().push(u16::from_be_bytes([frame[48], frame[49]]).into());
            }
        }));
        Load { lab, server, client, listener, open: vec![], windows }
    }

    /// Opens one more connection.
    fn connect(&mut self) -> Result<(), ConnectError> {
        let (client, listener) = (self.client.clone(), self.listener.clone());
        self.open.push(self.lab.run(async move {
            let timeout = Duration::from_secs(2);
            let options = ConnectOptions { timeout, tcp: rings(CLIENT_RING), ..ConnectOptions::default() };
            let near = client.connect("10.0.0.1:2049".parse().unwrap(), options).await?;
            Ok((near, listener.accept().await))
        })?);
        Ok(())
    }

    /// Opens connections until no more is to be had; the receive rings of the new ones.
    fn connect_all(&mut self) -> Vec<usize> {
        self.windows.borrow_mut().clear();
        let before = self.open.len();
        let refused = loop {
            if let Err(error) = self.connect() {
                break error;
            }
        };
        assert_eq!(refused, ConnectError::TimedOut("10.0.0.1:2049".parse().unwrap()), "SYNs are dropped");
        let windows = self.windows.take();
        assert_eq!(windows.len(), self.open.len() - before, "no SYN-ACK but for those that were accepted");
        // One that was cut off at 16 bits.
        windows.into_iter().map(|window| if window == 0xffff { WANTED } else { window }).collect()
    }

    /// Lets both ends of every connection write until nothing more is taken, while nobody reads: the bytes that the
    /// server then holds.
    fn fill(&mut self) -> usize {
        let handle = self.lab.handle();
        let mut open = std::mem::take(&mut self.open);
        let (open, held) = self.lab.run(async move {
            let mut held = 0;
            for (near, far) in &mut open {
                // What was taken but did not fit is with the client.
                held += write_all(&handle, near).await - CLIENT_RING;
                held += write_all(&handle, far).await - CLIENT_RING;
            }
            (open, held)
        });
        self.open = open;
        held
    }

    /// Sends more than fits into any ring through one connection, and the same again back.
    fn assert_works(&mut self, index: usize) {
        let (near, far) = self.open.remove(index);
        let ends = self.lab.run(async move {
            let (near, far) = pass(near, far).await;
            let (far, near) = pass(far, near).await;
            (near, far)
        });
        self.open.insert(index, ends);
    }

    /// Ends connections, one in two of them rudely, and waits until nobody remembers them.
    fn close(&mut self, which: std::ops::Range<usize>) {
        let left = self.open.len() - which.len();
        for (index, (near, _far)) in self.open.drain(which).enumerate() {
            if index % 2 == 1 {
                near.abort();
            }
        }
        self.lab.run_for(Duration::from_secs(60));
        assert_eq!((self.server.connections(), self.client.connections()), (left, left));
    }
}

/// The settings of an RPC server, but for the size of the rings.
fn rings(bytes: usize) -> TcpOptions {
    TcpOptions {
        receive_buffer: bytes,
        send_buffer: bytes,
        keep_alive: Some(Duration::from_secs(60)),
        ..TcpOptions::default()
    }
}

/// Writes until no more is taken.
async fn write_all(handle: &Handle, stream: &mut TcpStream) -> usize {
    let mut taken = 0;
    while let Ok(count) = handle.timeout(SILENCE, stream.write(&[7; 4096])).await {
        taken += count.unwrap();
    }
    taken
}

/// Sends a pattern.
async fn pass(mut from: TcpStream, mut to: TcpStream) -> (TcpStream, TcpStream) {
    let sent: Vec<u8> = (0..3 * WANTED).map(|n| (n ^ (n >> 8)) as u8).collect();
    let mut got = vec![0; sent.len()];
    keelson_exec::join(async { from.write_all(&sent).await.unwrap() }, async {
        to.read_exact(&mut got).await.unwrap();
    })
    .await;
    assert!(got == sent);
    (from, to)
}

#[test]
fn many_connections_share_the_limit() {
    let mut load = Load::new();
    let windows = load.connect_all();
    println!("{} connections: {windows:?}", windows.len());
    assert_eq!((windows[0], windows[windows.len() - 1]), (WANTED, SMALLEST));
    assert!(
        windows.is_sorted_by(|earlier, later| earlier >= later),
        "the more there are, the less a new one gets"
    );
    let rings = 2 * windows.iter().sum::<usize>();
    assert!(rings <= LIMIT, "{rings} bytes");
    assert!(rings > LIMIT - 2 * SMALLEST, "{rings} bytes: there was room for one more");
    assert!(load.server.counters().tcp_syn_dropped > 0);
    // Nor does the server itself open another one.
    let (server, client) = (load.server.clone(), load.client.clone());
    let own = load.lab.run(async move {
        let _listener = client.listen(9, TcpOptions::default()).unwrap();
        server.connect("10.0.0.2:9".parse().unwrap(), ConnectOptions::default()).await.map(drop)
    });
    assert_eq!(own, Err(ConnectError::TooMany));
    for index in [0, 1, windows.len() / 2, windows.len() - 1] {
        load.assert_works(index);
    }
    assert_eq!(load.fill(), rings, "all rings are full, and hold no more than was counted");
}

#[test]
fn closing_gives_memory_back() {
    let mut load = Load::new();
    let windows = load.connect_all();
    // The room of one large connection is that of several small ones.
    load.close(0..1);
    assert_eq!(load.connect_all(), [SMALLEST; WANTED / SMALLEST]);
    // Whatever was in the rings, and however it ended.
    load.fill();
    load.close(0..load.open.len());
    assert_eq!(load.connect_all(), windows, "as if nobody had been there before");
}
