//! XDR items in both directions.

use crate::input::Input;
use keelson_oncrpc::{Buffer, DecodeError, Decoder, Encoder, padded};

/// Longest encoding.
const ROOM: u16 = 2048;

/// An item of a kind.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Item {
    U32(u32),
    I32(i32),
    U64(u64),
    Bool(bool),
    Fixed(Vec<u8>),
    Opaque(Vec<u8>),
    Optional(Option<u32>),
}

/// Items from the input are written into a buffer that may be too small and read back; and the input itself is read as
/// items, which written again give the same bytes but for padding.
pub fn xdr(input: &[u8]) {
    let mut input = Input::new(input);
    let kinds = input.u8();
    round_trip(input);
    let mut script = Input::new(input.bytes(usize::from(kinds & 31)));
    decoded(&mut script, input.rest());
}

fn round_trip(mut input: Input<'_>) {
    let room = usize::from(input.u16() % ROOM);
    let mut out = Encoder::new(Buffer::from_vec(vec![0xaa; room]), usize::from(input.u8() & 7));
    let start = out.position();
    let mut items = Vec::new();
    while !input.is_empty() {
        let item = item(&mut input);
        let before = out.position();
        put(&mut out, &item);
        if out.overflowed() {
            assert_eq!(out.room(), 0);
            // What did not fit may have been written in part; the rest is as it was.
            assert!(out.position() >= before && out.written().len() <= room);
            out.rewind(before);
            assert_eq!((out.overflowed(), out.position()), (before > room, before));
            if input.u8() & 1 == 0 {
                break;
            }
            continue;
        }
        items.push(item);
    }
    let written = out.written().get(start..).unwrap_or_default().to_vec();
    let mut back = Decoder::new(&written);
    for item in &items {
        assert_eq!(take(&mut back, item), Ok(item.clone()));
    }
    assert_eq!(back.finish(), Ok(()));
}

fn item(input: &mut Input<'_>) -> Item {
    let kind = input.u8();
    let length = usize::from(kind >> 3) * usize::from(kind >> 3);
    match kind & 7 {
        0 => Item::U32(input.u32()),
        1 => Item::I32(input.u32() as i32),
        2 => Item::U64(input.u64()),
        3 => Item::Bool(kind & 8 != 0),
        4 => Item::Fixed(input.bytes(length).to_vec()),
        5 | 6 => Item::Opaque(input.bytes(length).to_vec()),
        _ => Item::Optional((kind & 8 != 0).then(|| input.u32())),
    }
}

fn put(out: &mut Encoder, item: &Item) {
    match item {
        Item::U32(value) => out.u32(*value),
        Item::I32(value) => out.i32(*value),
        Item::U64(value) => out.u64(*value),
        Item::Bool(value) => out.bool(*value),
        Item::Fixed(bytes) => match out.space(bytes.len()) {
            // As READ does it: the data is put in place by somebody else.
            Some(space) if bytes.len() % 2 == 1 => {
                space.copy_from_slice(bytes);
                out.advance(bytes.len());
            }
            _ => out.fixed(bytes),
        },
        Item::Opaque(bytes) => out.opaque(bytes),
        Item::Optional(value) => {
            out.bool(value.is_some());
            if let Some(value) = value {
                let at = out.position();
                out.u32(!*value);
                if !out.overflowed() {
                    out.patch_u32(at, *value);
                }
            }
        }
    }
}

/// An item of the same kind as `like`.
fn take(input: &mut Decoder<'_>, like: &Item) -> Result<Item, DecodeError> {
    Ok(match like {
        Item::U32(_) => Item::U32(input.u32()?),
        Item::I32(_) => Item::I32(input.i32()?),
        Item::U64(_) => Item::U64(input.u64()?),
        Item::Bool(_) => Item::Bool(input.bool()?),
        Item::Fixed(bytes) => Item::Fixed(input.fixed(bytes.len())?.to_vec()),
        Item::Opaque(bytes) => Item::Opaque(input.opaque(bytes.len().max(64))?.to_vec()),
        Item::Optional(_) => Item::Optional(input.optional(Decoder::u32)?),
    })
}

fn decoded(script: &mut Input<'_>, message: &[u8]) {
    let mut input = Decoder::new(message);
    let mut out = Encoder::new(Buffer::unpooled(message.len()), 0);
    while !script.is_empty() {
        let like = item(script);
        let (before, left) = (out.position(), input.remaining().len());
        let Ok(found) = take(&mut input, &like) else { break };
        put(&mut out, &found);
        let read = left - input.remaining().len();
        assert_eq!((out.overflowed(), out.position() - before, read % 4), (false, read, 0), "{found:?}");
        let data = match &found {
            Item::Fixed(bytes) | Item::Opaque(bytes) => bytes.len(),
            _ => read,
        };
        let padding = padded(data) - data;
        let end = out.position() - padding;
        assert_eq!(&out.written()[before..end], &message[before..end], "{found:?}");
        assert!(out.written()[end..].iter().all(|byte| *byte == 0), "padding is zero");
    }
}
