//! Frames: a header of 32 bytes, then what the type says (section 5.2).
//!
//! ```text
//!   0  u32 len    whole frame, header included
//!   4  u16 type   see `FrameType`
//!   6  u16 flags  MORE, LAST, REPLY, ERR, URGENT
//!   8  u64 id     of the request; unique per session and direction, never used again
//!  16  u32 pid    process on the node
//!  20  u32 tid    thread, 0 = none
//!  24  u32 code   number of the system call, signal, opcode
//!  28  u32 sum    CRC-32C of header (with zeros here) and payload, or 0 where the channel or its link protects itself
//! ```

use alloc::vec::Vec;

use bitflags::bitflags;

/// Bytes of a header.
pub const HEADER_LEN: usize = 32;
/// Largest frame, header included.
pub const MAX_FRAME: usize = (1 << 20) + 64;
/// Largest payload.
pub const MAX_PAYLOAD: usize = MAX_FRAME - HEADER_LEN;
/// Bytes that a SYSCALL or SYSRET carries itself; what is longer travels in DATA.
pub const MAX_INLINE: usize = 64 << 10;
/// Bytes of the paths, lengths and addresses of a call beside its data.
const MAX_EXTRA: usize = 16 << 10;
/// Everything inline in one SYSCALL or SYSRET.
pub const MAX_INLINE_TOTAL: usize = MAX_INLINE + MAX_EXTRA;
/// Requests of one session that may be unanswered.
pub const MAX_IN_FLIGHT: usize = 4096;
/// Sessions of a node.
pub const MAX_SESSIONS: usize = 256;
/// Bytes of one request that may be under way in DATA frames without a CREDIT (section 5.5).
pub const REQUEST_WINDOW: u32 = 4 << 20;
/// The same for all requests of a session together.
pub const SESSION_WINDOW: u32 = 32 << 20;
/// Bytes in one DATA frame, at most: the piece in which a host reads.
pub const DATA_PIECE: usize = 256 << 10;

macro_rules! frame_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What a frame is (section 5.4).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum FrameType {
            $($(#[$doc])* $name = $number,)*
        }

        impl FrameType {
            /// All of them.
            pub const ALL: &[FrameType] = &[$(FrameType::$name,)*];

            /// The type with this number.
            pub const fn from_raw(raw: u16) -> Option<FrameType> {
                match raw {
                    $($number => Some(FrameType::$name),)*
                    _ => None,
                }
            }
        }
    };
}

frame_types! {
    /// Both: who I am, what I can.
    Hello = 1,
    /// Both: proof of the key.
    Auth = 2,
    /// Both: the reason why the connection ends.
    Bye = 3,
    /// Both: are you there?
    Ping = 4,
    /// Both: yes.
    Pong = 5,
    /// Host to node: start a program.
    Launch = 16,
    /// Node to host: it starts, or not.
    LaunchAck = 17,
    /// Node to host: perform a system call.
    Syscall = 32,
    /// Host to node: its result.
    Sysret = 33,
    /// Both: bytes of a request that are too many for its frame.
    Data = 34,
    /// Both: so many more bytes of DATA may come.
    Credit = 35,
    /// Host to node: read memory of the process.
    MemRead = 36,
    /// Node to host: the bytes.
    MemReadReply = 37,
    /// Host to node: write memory of the process.
    MemWrite = 38,
    /// Node to host: done, or not.
    MemWriteReply = 39,
    /// Node to host: end a request early.
    Cancel = 40,
    /// Node to host: tell me when a handle becomes ready.
    Subscribe = 48,
    /// Node to host: no longer.
    Unsubscribe = 49,
    /// Host to node: it is ready.
    Ready = 50,
    /// Node to host: handles that nobody has any more.
    CloseBatch = 51,
    /// Node to host: bytes of a file for its mapping.
    PageIn = 56,
    /// Host to node: the bytes.
    PageInReply = 57,
    /// Node to host: bytes of a mapping for its file.
    PageOut = 58,
    /// Host to node: written, or not.
    PageOutReply = 59,
    /// Host to node: a signal for the process.
    Signal = 64,
    /// Node to host: make another proxy.
    Fork = 72,
    /// Host to node: it is there.
    ForkOk = 73,
    /// Host to node: it could not be made.
    ForkErr = 74,
    /// Node to host: the process is over.
    Exit = 75,
    /// Node to host: take these user and group ids.
    SetIds = 80,
    /// Node to host: change the process group.
    SetPgid = 81,
    /// Node to host: start a session.
    SetSid = 82,
    /// Node to host: take this umask.
    Umask = 83,
    /// Node to host: change the working directory.
    Chdir = 84,
    /// Node to host: take this resource limit.
    Rlimit = 85,
    /// Host to node: how one of the six went, or that a part of a core file or a text is there.
    SideReply = 86,
    /// Node to host: a text for who asked to see the program's calls.
    Show = 87,
    /// Tool to node: a verb.
    Ctrl = 96,
    /// Node to tool: its answer.
    CtrlReply = 97,
    /// Node to host: something happened.
    Event = 98,
    /// Node to tool: lines of the log.
    Kmsg = 99,
    /// Node to host: a dump follows.
    DumpHeader = 100,
    /// Node to host: a part of it.
    DumpData = 101,
}

bitflags! {
    /// Flags of a frame.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Flags: u16 {
        /// DATA of this request follows, in the direction of this frame.
        const MORE = 1;
        /// The last DATA of its request in this direction.
        const LAST = 2;
        /// Answers the request with this id.
        const REPLY = 4;
        /// The answer is an error.
        const ERR = 8;
        /// Before everything else that waits to be sent.
        const URGENT = 16;
        /// SYSCALL: do not wait, answer EAGAIN.
        const NONBLOCK = 32;
        /// SYSCALL: report readiness of the handle with the answer.
        const NEED_RDY = 64;
    }
}

/// The header of a frame without its length and sum, which [`begin`] and [`finish`] see to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What it is.
    pub kind: FrameType,
    /// Flags.
    pub flags: Flags,
    /// Request.
    pub id: u64,
    /// Process.
    pub pid: u32,
    /// Thread, 0 = none.
    pub tid: u32,
    /// Number of the call, signal or opcode.
    pub code: u32,
}

impl Header {
    /// A header with nothing but its type.
    pub const fn new(kind: FrameType) -> Header {
        Header { kind, flags: Flags::empty(), id: 0, pid: 0, tid: 0, code: 0 }
    }

    /// The header of an answer to this.
    pub const fn reply(&self, kind: FrameType) -> Header {
        Header { kind, flags: Flags::REPLY, ..*self }
    }

    /// With these flags too.
    pub const fn with(mut self, flags: Flags) -> Header {
        self.flags = self.flags.union(flags);
        self
    }

    /// With this id.
    pub const fn id(mut self, id: u64) -> Header {
        self.id = id;
        self
    }

    fn to_bytes(self, len: u32) -> [u8; HEADER_LEN] {
        // As the two halves of 16 bytes that it is made of: byte by byte it costs more than everything else about a small frame.
        let first = u128::from(len)
            | u128::from(self.kind as u16) << 32
            | u128::from(self.flags.bits()) << 48
            | u128::from(self.id) << 64;
        let second = u128::from(self.pid) | u128::from(self.tid) << 32 | u128::from(self.code) << 64;
        let mut bytes = [0; HEADER_LEN];
        let (head, tail) = bytes.split_at_mut(HEADER_LEN / 2);
        head.copy_from_slice(&first.to_le_bytes());
        tail.copy_from_slice(&second.to_le_bytes());
        bytes
    }
}

/// A frame that arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// What follows the header.
    pub payload: Vec<u8>,
}

/// Why bytes are not frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The length is less than a header's or above the limit.
    Length(u32),
    /// No such type.
    Type(u16),
    /// Flags that do not exist.
    Flags(u16),
    /// The sum is wrong.
    Sum,
    /// There is no memory for so many bytes.
    Memory(usize),
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            FrameError::Length(len) => write!(f, "frame of {len} bytes"),
            FrameError::Type(raw) => write!(f, "unknown frame type {raw}"),
            FrameError::Flags(raw) => write!(f, "unknown frame flags {raw:#x}"),
            FrameError::Sum => f.write_str("wrong checksum"),
            FrameError::Memory(len) => write!(f, "no memory for {len} bytes of a frame"),
        }
    }
}

impl core::error::Error for FrameError {}

/// Whether frames carry a CRC-32C.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sums {
    /// The field is zero.
    Off,
    /// It is computed, and checked.
    On,
}

/// By tables for 16 bytes at once: it passes over all bytes of files that programs read and write.
static CRC: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);

/// The frame was larger than [`MAX_FRAME`]; it is not in the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

/// Starts a frame at the end of `out`: the header with its length open. Returns where, for [`finish`].
pub fn begin(out: &mut Vec<u8>, header: &Header) -> usize {
    let at = out.len();
    out.extend_from_slice(&header.to_bytes(0));
    at
}

/// Ends the frame that [`begin`] started at `at`: everything behind it is its payload.
pub fn finish(out: &mut Vec<u8>, at: usize, sums: Sums) -> Result<(), TooLarge> {
    let len = out.len().saturating_sub(at);
    if len > MAX_FRAME {
        out.truncate(at);
        return Err(TooLarge);
    }
    if let Some(field) = out.get_mut(at..).and_then(|frame| frame.first_chunk_mut::<4>()) {
        *field = (len as u32).to_le_bytes();
    }
    if sums == Sums::On {
        let sum = CRC.checksum(out.get(at..).unwrap_or_default());
        if let Some(field) = out.get_mut(at + 28..at + 32) {
            field.copy_from_slice(&sum.to_le_bytes());
        }
    }
    Ok(())
}

/// Makes frames of a stream of bytes. Each byte is copied once, from the input into the frame it belongs to.
#[derive(Debug)]
pub struct Decoder {
    sums: Sums,
    most: usize,
    head: [u8; HEADER_LEN],
    have: usize,
    body: Option<(Frame, usize, u32)>,
}

impl Decoder {
    /// For frames up to [`MAX_FRAME`].
    pub const fn new(sums: Sums) -> Decoder {
        Decoder { sums, most: MAX_FRAME, head: [0; HEADER_LEN], have: 0, body: None }
    }

    /// Refuses frames above `most` bytes from now on.
    pub fn limit(&mut self, most: usize) {
        self.most = most.min(MAX_FRAME);
    }

    /// Takes bytes from the front of `input` until a frame is complete or there are none left. After an error the stream is
    /// of no use any more.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        if self.body.is_none() {
            let room = self.head.get_mut(self.have..).unwrap_or_default();
            let take = room.len().min(input.len());
            let (taken, rest) = input.split_at(take);
            for (to, from) in room.iter_mut().zip(taken) {
                *to = *from;
            }
            *input = rest;
            self.have += take;
            if self.have < HEADER_LEN {
                return Ok(None);
            }
            self.have = 0;
            let (header, len, sum) = parse(&self.head)?;
            if (len as usize) < HEADER_LEN || len as usize > self.most {
                return Err(FrameError::Length(len));
            }
            if self.sums == Sums::Off && sum != 0 {
                return Err(FrameError::Sum);
            }
            let rest = len as usize - HEADER_LEN;
            // What has not arrived is not reserved beyond a piece: a header alone costs its sender as much as us.
            let mut payload = Vec::new();
            let first = rest.min(DATA_PIECE.max(input.len()));
            payload.try_reserve_exact(first).map_err(|_| FrameError::Memory(first))?;
            self.body = Some((Frame { header, payload }, rest, sum));
        }
        let Some((frame, rest, _)) = &mut self.body else { return Ok(None) };
        let take = rest.saturating_sub(frame.payload.len()).min(input.len());
        let (taken, left) = input.split_at(take);
        frame.payload.try_reserve(take).map_err(|_| FrameError::Memory(*rest))?;
        frame.payload.extend_from_slice(taken);
        *input = left;
        if frame.payload.len() < *rest {
            return Ok(None);
        }
        let Some((frame, _, sum)) = self.body.take() else { return Ok(None) };
        if self.sums == Sums::On {
            self.check(&frame, sum)?;
        }
        Ok(Some(frame))
    }

    /// True between frames.
    pub fn is_idle(&self) -> bool {
        self.have == 0 && self.body.is_none()
    }

    fn check(&self, frame: &Frame, sum: u32) -> Result<(), FrameError> {
        let mut digest = CRC.digest();
        digest.update(&frame.header.to_bytes((HEADER_LEN + frame.payload.len()) as u32));
        digest.update(&frame.payload);
        if digest.finalize() == sum { Ok(()) } else { Err(FrameError::Sum) }
    }
}

fn parse(head: &[u8; HEADER_LEN]) -> Result<(Header, u32, u32), FrameError> {
    let mut fields = crate::bytes::Reader::new(head);
    // The array is long enough for all of these; a length error stands for a mistake here.
    let short = |_| FrameError::Length(0);
    let len = fields.u32().map_err(short)?;
    let raw_kind = fields.u16().map_err(short)?;
    let raw_flags = fields.u16().map_err(short)?;
    let header = Header {
        kind: FrameType::from_raw(raw_kind).ok_or(FrameError::Type(raw_kind))?,
        flags: Flags::from_bits(raw_flags).ok_or(FrameError::Flags(raw_flags))?,
        id: fields.u64().map_err(short)?,
        pid: fields.u32().map_err(short)?,
        tid: fields.u32().map_err(short)?,
        code: fields.u32().map_err(short)?,
    };
    let sum = fields.u32().map_err(short)?;
    Ok((header, len, sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: FrameType, id: u64, payload: &[u8], sums: Sums) -> Vec<u8> {
        let mut out = Vec::new();
        let at = begin(&mut out, &Header { code: 7, tid: 2, ..Header::new(kind) }.id(id));
        out.extend_from_slice(payload);
        finish(&mut out, at, sums).unwrap();
        out
    }

    #[test]
    fn layout() {
        let bytes = frame(FrameType::Sysret, 0x0102_0304_0506_0708, b"xy", Sums::Off);
        assert_eq!(bytes.len(), 34);
        assert_eq!(&bytes[..8], &[34, 0, 0, 0, 33, 0, 0, 0]);
        assert_eq!(&bytes[8..16], &[8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(&bytes[16..], &[0, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'x', b'y']);
    }

    #[test]
    fn limits() {
        let mut bytes = frame(FrameType::Data, 1, &[0; 100], Sums::Off);
        bytes[..4].copy_from_slice(&31u32.to_le_bytes());
        assert_eq!(Decoder::new(Sums::Off).next(&mut &bytes[..]), Err(FrameError::Length(31)));
        bytes[..4].copy_from_slice(&(MAX_FRAME as u32 + 1).to_le_bytes());
        assert_eq!(
            Decoder::new(Sums::Off).next(&mut &bytes[..]),
            Err(FrameError::Length(MAX_FRAME as u32 + 1))
        );
        let mut out = alloc::vec![1];
        let at = begin(&mut out, &Header::new(FrameType::Data));
        out.resize(out.len() + MAX_PAYLOAD + 1, 0);
        assert_eq!(finish(&mut out, at, Sums::Off), Err(TooLarge));
        assert_eq!(out, [1]);
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let good = frame(FrameType::Data, 1, b"some bytes", Sums::On);
        assert!(Decoder::new(Sums::On).next(&mut &good[..]).unwrap().is_some());
        for at in 8..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert_eq!(Decoder::new(Sums::On).next(&mut &bad[..]), Err(FrameError::Sum), "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_cut(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6),
                   cut in 1usize..64, summed in any::<bool>()) {
            let sums = if summed { Sums::On } else { Sums::Off };
            let stream: Vec<u8> =
                payloads.iter().enumerate().flat_map(|(i, p)| frame(FrameType::Data, i as u64, p, sums)).collect();
            let mut decoder = Decoder::new(sums);
            let mut got = Vec::new();
            for mut piece in stream.chunks(cut) {
                while let Some(frame) = decoder.next(&mut piece).unwrap() {
                    got.push(frame.payload);
                }
                prop_assert!(piece.is_empty());
            }
            prop_assert!(decoder.is_idle());
            prop_assert_eq!(got, payloads);
        }

        #[test]
        fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::new(Sums::Off);
            let mut input = &bytes[..];
            while let Ok(Some(_)) = decoder.next(&mut input) {}
        }
    }
}
