//! How to switch off: the sleep type in the DSDT's `\_S5` object, found without an AML interpreter.

/// What to write into the sleep-type field (bits 12:10 of PM1 control) for soft off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SleepType {
    /// For PM1a control, or the sleep control register.
    pub a: u8,
    /// For PM1b control.
    pub b: u8,
}

/// Finds `Name (_S5, Package () {a, b, ...})` in a DSDT's bytes by its encoding (section 20.2): NameOp 08,
/// an optional `\`, "_S5_", PackageOp 12, PkgLength, NumElements, then integers. Values above 7 do not fit
/// the field, so bytes that look like the object but hold such are not it.
pub fn find_s5(dsdt: &[u8]) -> Option<SleepType> {
    dsdt.windows(4).enumerate().filter(|(_, window)| window == b"_S5_").find_map(|(at, _)| {
        let before = dsdt.get(at.saturating_sub(2)..at)?;
        if !(before.ends_with(b"\x08") || before == b"\x08\\") {
            return None;
        }
        let package = dsdt.get(at + 4..)?.strip_prefix(b"\x12")?;
        // The top two bits of PkgLength's first byte count the bytes that follow it.
        let elements = package.get(1 + usize::from(package.first()? >> 6)..)?;
        let (&count, elements) = elements.split_first()?;
        let (a, rest) = integer(elements)?;
        // A package of one element sets both halves.
        let b = if count >= 2 { integer(rest)?.0 } else { a };
        (count >= 1 && a <= 7 && b <= 7).then_some(SleepType { a, b })
    })
}

/// An AML integer that fits a byte: ZeroOp, OneOp, BytePrefix, or a wider constant with small value.
fn integer(aml: &[u8]) -> Option<(u8, &[u8])> {
    let (&op, rest) = aml.split_first()?;
    let len = match op {
        0x00 | 0x01 => return Some((op, rest)),
        0x0a => 1,
        0x0b => 2,
        0x0c => 4,
        0x0e => 8,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(len)?;
    let (&low, high) = value.split_first()?;
    high.iter().all(|byte| *byte == 0).then_some((low, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodings_in_use() {
        let found = |bytes: &[u8]| find_s5(bytes).map(|s5| (s5.a, s5.b));
        assert_eq!(found(b"xx\x08_S5_\x12\x06\x04\x00\x00\x00\x00"), Some((0, 0)));
        assert_eq!(found(b"\x08\\_S5_\x12\x08\x04\x0a\x05\x0a\x06\x00\x00"), Some((5, 6)));
        assert_eq!(found(b"\x08_S5_\x12\x47\x00\x02\x0b\x07\x00\x01"), Some((7, 1)));
        assert_eq!(found(b"\x08_S5_\x12\x04\x01\x0a\x03"), Some((3, 3)));
        // A method call on the name, a value out of range, a package cut short.
        assert_eq!(found(b"\x14_S5_\x12\x06\x04\x00\x00"), None);
        assert_eq!(found(b"\x08_S5_\x12\x06\x04\x0a\x08\x00"), None);
        assert_eq!(found(b"\x08_S5_\x12\x06"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            find_s5(&bytes);
            let mut named = b"\x08_S5_\x12".to_vec();
            named.extend(bytes);
            find_s5(&named);
        }
    }
}
