//! A TFTP server: each request that arrives starts a transfer at a port of its own, as with the servers that fork.

use super::frames::{address, arp, ip_udp, udp};
use super::{CLIENT, CLIENT_MAC, SECOND, SERVER, SERVER_MAC};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// How a server is.
#[derive(Clone)]
pub struct Options {
    /// Granted at most; `None`: the option is not known.
    pub block_size: Option<usize>,
    pub window: Option<u16>,
    pub tsize: bool,
    /// Answers a request that has options with error 8.
    pub refuses: bool,
    /// Error for any request.
    pub error: Option<(u16, &'static str)>,
    /// Bytes that the disk holds.
    pub room: u64,
    /// A second request for a file that is being written is not answered (tftpd-hpa); else it empties the file.
    pub locks: bool,
    /// Answers ARP for this address, with this MAC.
    pub neighbour: Option<Ipv4Addr>,
    pub mac: [u8; 6],
    /// Answers requests after so long.
    pub think: u64,
    /// Repeats what it said last after so long.
    pub patience: u64,
    /// After so many blocks it says nothing any more. 0: not even to a request.
    pub silent_after: u64,
    /// Sends the OACK in place of ACK 0 at each turn of the numbers.
    pub oack_for_zero: bool,
    /// Asks who has the client's address after so many blocks, and goes on when it knows.
    pub forgets_after: u64,
    /// The number that follows 65,535.
    pub after_last: u16,
    /// An OACK of its own words.
    pub words: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            block_size: Some(65_464),
            window: Some(64),
            tsize: true,
            refuses: false,
            error: None,
            room: u64::MAX,
            locks: false,
            neighbour: Some(SERVER),
            mac: SERVER_MAC,
            think: 0,
            patience: SECOND,
            silent_after: u64::MAX,
            oack_for_zero: false,
            forgets_after: u64::MAX,
            after_last: 0,
            words: None,
        }
    }
}

/// One transfer.
struct Transfer {
    client: u16,
    block_size: usize,
    window: u16,
    oack: Option<Vec<u8>>,
    /// Blocks that it has.
    blocks: u64,
    /// The number that the next one has to have.
    expected: u16,
    /// Of this window.
    since_ack: u16,
    repeated: bool,
    offset: usize,
    complete: bool,
    /// When the last acknowledgement is sent again, and how often it was.
    again: u64,
    tries: u32,
}

pub struct Server {
    pub options: Options,
    pub file: Option<Vec<u8>>,
    /// Requests as they came, without opcode.
    pub requests: Vec<Vec<u8>>,
    /// The client's ports in them.
    pub ports: Vec<u16>,
    /// Errors that the client sent.
    pub errors: Vec<u16>,
    /// DATA that arrived, all copies counted.
    pub data: u64,
    /// Who we know.
    knows: bool,
    asked: u64,
    transfers: BTreeMap<u16, Transfer>,
    /// Requests that are being thought about.
    waiting: Vec<(u64, u16, Vec<u8>)>,
    next_port: u16,
}

impl Server {
    pub fn new(options: Options) -> Server {
        Server {
            options,
            file: None,
            requests: vec![],
            ports: vec![],
            errors: vec![],
            data: 0,
            knows: true,
            asked: 0,
            transfers: BTreeMap::new(),
            waiting: vec![],
            next_port: 30_000,
        }
    }

    fn reply(&self, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        ip_udp((self.options.mac, CLIENT_MAC), (SERVER, from), (CLIENT, to), payload)
    }

    fn error(&self, from: u16, to: u16, code: u16, text: &str) -> Vec<Vec<u8>> {
        let payload = [&[0, 5][..], &code.to_be_bytes(), text.as_bytes(), &[0]].concat();
        vec![self.reply(from, to, &payload)]
    }

    /// A frame arrives.
    pub fn input(&mut self, frame: &[u8], now: u64) -> Vec<Vec<u8>> {
        if frame.len() >= 42 && frame[12..14] == [8, 6] {
            return self.arp(frame);
        }
        let Some(datagram) =
            udp(frame).filter(|datagram| datagram.target.0 == SERVER && frame[..6] == self.options.mac)
        else {
            return vec![];
        };
        assert_eq!(datagram.source.0, CLIENT);
        let client = datagram.source.1;
        match (datagram.target.1, datagram.payload.get(..2)) {
            (69, Some([0, 2])) => {
                self.ports.push(client);
                self.requests.push(datagram.payload[2..].to_vec());
                self.waiting.push((now + self.options.think, client, datagram.payload[2..].to_vec()));
                vec![]
            }
            (port, Some([0, 3])) if datagram.payload.len() >= 4 => {
                self.block(port, client, &datagram.payload[2..], now)
            }
            (port, Some([0, 5])) => {
                self.errors.push(u16::from_be_bytes([datagram.payload[2], datagram.payload[3]]));
                self.transfers.remove(&port);
                vec![]
            }
            _ => vec![],
        }
    }

    fn arp(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let (operation, sender, target) = (frame[21], address(frame, 28), address(frame, 38));
        if operation == 2 && sender == CLIENT && target == SERVER && frame[..6] == self.options.mac {
            self.knows = true;
        }
        match self.options.neighbour {
            Some(address) if operation == 1 && address == target => {
                vec![arp(2, (self.options.mac, address), CLIENT_MAC, (CLIENT_MAC, CLIENT))]
            }
            _ => vec![],
        }
    }

    fn request(&mut self, client: u16, request: &[u8], now: u64) -> Vec<Vec<u8>> {
        let port = self.next_port;
        self.next_port += 1;
        if self.options.silent_after == 0 || (self.options.locks && !self.transfers.is_empty()) {
            return vec![];
        }
        if let Some((code, text)) = self.options.error {
            return self.error(port, client, code, text);
        }
        let mut words =
            request.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        assert!(words.next().is_some_and(|file| file == "core"));
        assert_eq!(words.next().as_deref(), Some("octet"));
        let (mut block_size, mut window, mut oack) = (512, 1, vec![0, 6]);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            let value: u64 = value.parse().unwrap();
            let granted = match name.as_str() {
                "blksize" => self.options.block_size.map(|most| {
                    block_size = most.min(value as usize);
                    block_size as u64
                }),
                "windowsize" => self.options.window.map(|most| {
                    window = most.min(value as u16);
                    window.into()
                }),
                "tsize" => self.options.tsize.then_some(value),
                name => panic!("option {name}"),
            };
            if self.options.refuses {
                return self.error(port, client, 8, "no options here");
            }
            if let Some(granted) = granted {
                oack.extend(format!("{name}\0{granted}\0").bytes());
            }
        }
        if let Some(words) = &self.options.words {
            oack = [&[0, 6][..], words].concat();
        }
        // The open that empties the file.
        self.file = Some(vec![]);
        let transfer = Transfer {
            client,
            block_size,
            window,
            oack: (oack.len() > 2).then_some(oack),
            blocks: 0,
            expected: 1,
            since_ack: 0,
            repeated: false,
            offset: 0,
            complete: false,
            again: 0,
            tries: 0,
        };
        self.transfers.insert(port, transfer);
        self.acknowledge(port, now)
    }

    /// Says what it has.
    fn acknowledge(&mut self, port: u16, now: u64) -> Vec<Vec<u8>> {
        let (zero, patience) = (self.options.oack_for_zero, self.options.patience);
        let after_last = self.options.after_last;
        let Some(transfer) = self.transfers.get_mut(&port) else { return vec![] };
        transfer.since_ack = 0;
        transfer.again = now + patience;
        let last = if transfer.expected == after_last && transfer.blocks > 0 {
            65_535
        } else {
            transfer.expected - 1
        };
        let payload = match &transfer.oack {
            Some(oack) if transfer.blocks == 0 || (zero && last == 0) => oack.clone(),
            _ => [&[0, 4][..], &last.to_be_bytes()].concat(),
        };
        let client = transfer.client;
        if !self.knows {
            return vec![];
        }
        vec![self.reply(port, client, &payload)]
    }

    fn block(&mut self, port: u16, client: u16, block: &[u8], now: u64) -> Vec<Vec<u8>> {
        self.data += 1;
        let number = u16::from_be_bytes([block[0], block[1]]);
        let (data, room) = (&block[2..], self.options.room);
        let after_last = self.options.after_last;
        let Some(transfer) = self.transfers.get_mut(&port).filter(|transfer| transfer.client == client)
        else {
            return self.error(port, client, 5, "unknown transfer ID");
        };
        assert!(data.len() <= transfer.block_size, "a block of {} bytes", data.len());
        if transfer.blocks >= self.options.silent_after {
            return vec![];
        }
        transfer.tries = 0;
        if transfer.complete || number != transfer.expected {
            // Once for a gap, and each time for a block that it has: a lost acknowledgement.
            let old = transfer.expected.wrapping_sub(number) < 0x8000;
            if transfer.repeated && !old {
                return vec![];
            }
            transfer.repeated = true;
            return self.acknowledge(port, now);
        }
        let end = transfer.offset + data.len();
        if end as u64 > room {
            self.transfers.remove(&port);
            return self.error(port, client, 3, "Disk full or allocation exceeded");
        }
        let file = self.file.get_or_insert_default();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[transfer.offset..end].copy_from_slice(data);
        transfer.offset = end;
        transfer.blocks += 1;
        transfer.repeated = false;
        transfer.expected = if number == 65_535 { after_last } else { number + 1 };
        transfer.complete = data.len() < transfer.block_size;
        transfer.since_ack += 1;
        let due = transfer.complete || transfer.since_ack >= transfer.window;
        if transfer.blocks == self.options.forgets_after {
            self.knows = false;
        }
        if due { self.acknowledge(port, now) } else { vec![] }
    }

    /// What it does by itself: answers that took time, and acknowledgements that seem to be lost.
    pub fn turn(&mut self, now: u64) -> Vec<Vec<u8>> {
        let mut frames = vec![];
        while let Some(at) = self.waiting.iter().position(|(due, ..)| *due <= now) {
            let (_, client, request) = self.waiting.remove(at);
            frames.extend(self.request(client, &request, now));
        }
        if !self.knows && now >= self.asked + SECOND / 10 {
            self.asked = now;
            frames.push(arp(1, (self.options.mac, SERVER), [0xff; 6], ([0; 6], CLIENT)));
        }
        let due = |transfer: &&mut Transfer| transfer.again <= now && transfer.tries < 5;
        let late: Vec<u16> =
            self.transfers.iter_mut().filter(|(_, transfer)| due(transfer)).map(|(port, _)| *port).collect();
        for port in late {
            let silent = self.options.silent_after;
            let Some(transfer) = self.transfers.get_mut(&port) else { continue };
            transfer.tries += 1;
            if transfer.blocks < silent && !transfer.complete {
                frames.extend(self.acknowledge(port, now));
            }
        }
        frames
    }
}
