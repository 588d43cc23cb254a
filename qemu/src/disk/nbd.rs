//! The NBD protocol, server side (NetworkBlockDevice/nbd doc/proto.md): fixed newstyle, simple replies.

use std::io::{self, Read, Write};

const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943; // "NBDMAGIC"
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054; // "IHAVEOPT"
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

const FLAG_FIXED_NEWSTYLE: u16 = 1;
const FLAG_NO_ZEROES: u16 = 2;
/// Transmission flags: has flags, knows FLUSH, knows FUA.
const TRANSMISSION_FLAGS: u16 = 1 | 4 | 8;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUPPORTED: u32 = 0x8000_0001;
const INFO_EXPORT: u16 = 0;

/// Longest request taken; QEMU's are at most 32 MiB.
const MAX_LENGTH: u32 = 64 << 20;

/// What the client wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    Read {
        offset: u64,
        len: u32,
    },
    /// The data is in the buffer given to [`read_request`].
    Write {
        offset: u64,
        durable: bool,
    },
    Flush,
    Disconnect,
    Unknown,
}

/// Error numbers of NBD replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok = 0,
    Io = 5,
    Invalid = 22,
}

/// Agrees with the client on the one export, of `size` bytes. False if the client wants nothing more.
pub fn handshake(stream: &mut (impl Read + Write), size: u64) -> io::Result<bool> {
    let mut hello = Vec::new();
    hello.extend(NBD_MAGIC.to_be_bytes());
    hello.extend(OPTION_MAGIC.to_be_bytes());
    hello.extend((FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES).to_be_bytes());
    stream.write_all(&hello)?;
    let no_zeroes = read_u32(stream)? & u32::from(FLAG_NO_ZEROES) != 0;
    loop {
        if read_u64(stream)? != OPTION_MAGIC {
            return Err(invalid("option without magic"));
        }
        let (option, len) = (read_u32(stream)?, read_u32(stream)?);
        if len > 4096 {
            return Err(invalid("option too long"));
        }
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data)?;
        match option {
            OPT_EXPORT_NAME => {
                let mut reply = Vec::new();
                reply.extend(size.to_be_bytes());
                reply.extend(TRANSMISSION_FLAGS.to_be_bytes());
                reply.resize(reply.len() + if no_zeroes { 0 } else { 124 }, 0);
                stream.write_all(&reply)?;
                return Ok(true);
            }
            OPT_GO | OPT_INFO => {
                let mut info = Vec::new();
                info.extend(INFO_EXPORT.to_be_bytes());
                info.extend(size.to_be_bytes());
                info.extend(TRANSMISSION_FLAGS.to_be_bytes());
                option_reply(stream, option, REP_INFO, &info)?;
                option_reply(stream, option, REP_ACK, &[])?;
                if option == OPT_GO {
                    return Ok(true);
                }
            }
            OPT_ABORT => {
                option_reply(stream, option, REP_ACK, &[])?;
                return Ok(false);
            }
            // Structured replies, contexts, TLS: the client goes on without.
            _ => option_reply(stream, option, REP_ERR_UNSUPPORTED, &[])?,
        }
    }
}

fn option_reply(stream: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut reply = Vec::new();
    reply.extend(OPTION_REPLY_MAGIC.to_be_bytes());
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend((data.len() as u32).to_be_bytes());
    reply.extend(data);
    stream.write_all(&reply)
}

/// Reads the next request; `data` is filled for writes. Returns the client's cookie, to be given back.
pub fn read_request(stream: &mut impl Read, data: &mut Vec<u8>) -> io::Result<(u64, Request)> {
    let mut head = [0; 28];
    stream.read_exact(&mut head)?;
    let u16_at = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let u32_at = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
    if u32_at(0) != REQUEST_MAGIC {
        return Err(invalid("request without magic"));
    }
    let (flags, kind, cookie, offset, len) = (u16_at(4), u16_at(6), u64_at(8), u64_at(16), u32_at(24));
    if len > MAX_LENGTH && kind < 2 {
        return Err(invalid("request too long"));
    }
    let request = match kind {
        0 => Request::Read { offset, len },
        1 => {
            data.resize(len as usize, 0);
            stream.read_exact(data)?;
            Request::Write { offset, durable: flags & 1 != 0 }
        }
        2 => Request::Disconnect,
        3 => Request::Flush,
        _ => Request::Unknown,
    };
    Ok((cookie, request))
}

/// Answers a request; `data` is what was read.
pub fn reply(stream: &mut impl Write, cookie: u64, status: Status, data: &[u8]) -> io::Result<()> {
    let mut head = [0; 16];
    head[..4].copy_from_slice(&REPLY_MAGIC.to_be_bytes());
    head[4..8].copy_from_slice(&(status as u32).to_be_bytes());
    head[8..].copy_from_slice(&cookie.to_be_bytes());
    stream.write_all(&head)?;
    stream.write_all(data)
}

fn read_u32(from: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn read_u64(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}
