//! Reading single values: numbers, sizes, durations, switches, devices.

use core::time::Duration;

/// A switch: `1`, `y`, `yes`, `on`, `true` or `0`, `n`, `no`, `off`, `false`, in either case.
pub fn parse_flag(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(&["1", "y", "yes", "on", "true"]) {
        Some(true)
    } else if is(&["0", "n", "no", "off", "false"]) {
        Some(false)
    } else {
        None
    }
}

/// A decimal or `0x` hexadecimal integer, with an optional `-`.
pub fn parse_integer(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(digits) => 0i64.checked_sub_unsigned(parse_unsigned(digits)?),
        None => parse_unsigned(text)?.try_into().ok(),
    }
}

/// A number of bytes with an optional binary suffix as Linux's memparse knows it: K, M, G, T, P, E in either
/// case (1K = 1024).
pub fn parse_size(text: &str) -> Option<u64> {
    // In hexadecimal, E is a digit; the other suffixes are not.
    let hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let shift = match text.bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        b'P' => 50,
        b'E' if !hexadecimal => 60,
        _ => return parse_unsigned(text),
    };
    parse_unsigned(&text[..text.len() - 1])?.checked_mul(1 << shift)
}

/// A span of time: an integer with the unit `us`, `ms`, `s`, `m`, `h` or `d`; seconds without one.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = parse_unsigned(number)?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3_600),
        "d" => seconds(86_400),
        _ => None,
    }
}

/// A decimal or `0x` hexadecimal number. Digits only: `+5`, which Rust's own parser takes, is not a number here.
pub fn parse_unsigned(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

/// A virtio device behind memory-mapped registers, as `virtio_mmio.device=` announces it:
/// `size@base:irq[:id]`, for example `512@0xfeb00e00:12`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioDevice {
    /// Length of the register window in bytes.
    pub size: u64,
    /// Physical address of the window.
    pub base: u64,
    /// Global system interrupt.
    pub irq: u32,
    /// Platform device number, which only Linux uses.
    pub id: Option<u32>,
}

impl MmioDevice {
    /// Reads `size@base:irq[:id]`. Sizes of zero and windows beyond the address space are refused.
    pub fn parse(text: &str) -> Option<MmioDevice> {
        let (size, place) = text.split_once('@')?;
        let mut fields = place.split(':');
        let device = MmioDevice {
            size: parse_size(size)?,
            base: parse_unsigned(fields.next()?)?,
            irq: parse_unsigned(fields.next()?)?.try_into().ok()?,
            id: match fields.next() {
                Some(id) => Some(parse_unsigned(id)?.try_into().ok()?),
                None => None,
            },
        };
        let sound = device.size > 0 && device.base.checked_add(device.size).is_some();
        (fields.next().is_none() && sound).then_some(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers() {
        assert_eq!(parse_integer("0x10"), Some(16));
        assert_eq!(parse_integer("-1"), Some(-1));
        assert_eq!(parse_integer("-9223372036854775808"), Some(i64::MIN));
        for bad in ["", "-", "+1", "--1", "1 ", "9223372036854775808", "0x", "1k"] {
            assert_eq!(parse_integer(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("4k"), Some(4096));
        assert_eq!(parse_size("0x1M"), Some(1 << 20));
        assert_eq!(parse_size("0x1E"), Some(0x1e));
        assert_eq!(parse_size("1E"), Some(1 << 60));
        for bad in ["", "K", "16E", "1KB", "-1", "4 K", "1é"] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("50us"), Some(Duration::from_micros(50)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7_200)));
        for bad in ["", "s", "1.5s", "1 s", "-1", "18446744073709551615d"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn mmio_device() {
        let device = MmioDevice { size: 512, base: 0xfeb0_0e00, irq: 12, id: None };
        assert_eq!(MmioDevice::parse("512@0xfeb00e00:12"), Some(device));
        assert_eq!(MmioDevice::parse("1K@0x1000:5:3").unwrap().id, Some(3));
        for bad in
            ["", "512", "512@0x1000", "512@0x1000:", "0@0x1000:1", "1@0xffffffffffffffff:1", "1@1:1:1:1"]
        {
            assert_eq!(MmioDevice::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            let _ = (parse_flag(&text), parse_integer(&text), parse_size(&text));
            let _ = (parse_duration(&text), MmioDevice::parse(&text));
        }

        #[test]
        fn numbers_read_back(number in any::<i64>(), size in any::<u64>()) {
            prop_assert_eq!(parse_integer(&number.to_string()), Some(number));
            prop_assert_eq!(parse_size(&format!("{size:#x}")), Some(size));
        }
    }
}
