//! Lists of numbers in brackets: `[1,3-5,10-20/2]`.

use super::Problem;
use alloc::vec::Vec;
use core::fmt;

/// Some numbers, as ranges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NumberList {
    ranges: Vec<Range>,
}

/// `first`, `first + stride` and so on up to `last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    first: u32,
    last: u32,
    stride: u32,
}

impl Range {
    fn contains(&self, number: u32) -> bool {
        number >= self.first && number <= self.last && (number - self.first).is_multiple_of(self.stride)
    }

    fn count(&self) -> usize {
        ((self.last - self.first) / self.stride) as usize + 1
    }

    fn numbers(self) -> impl Iterator<Item = u32> + Clone {
        (self.first..=self.last).step_by(self.stride as usize)
    }
}

impl NumberList {
    /// Reads what stands between the brackets: numbers up to `maximum`.
    pub(super) fn parse(inner: &str, maximum: u32) -> Result<NumberList, Problem> {
        let number = |text: &str| decimal(text).filter(|number| *number <= maximum);
        let range = |item: &str| {
            let (ends, stride) = match item.split_once('/') {
                Some((ends, stride)) => (ends, decimal(stride).filter(|stride| *stride > 0)?),
                None => (item, 1),
            };
            let (first, last) = match ends.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(ends)?, number(ends)?),
            };
            (first <= last).then_some(Range { first, last, stride })
        };
        let ranges: Option<Vec<Range>> = inner.split(',').map(range).collect();
        ranges.map(|ranges| NumberList { ranges }).ok_or(Problem::Number(maximum))
    }

    /// Every number from `first` to `last`.
    pub(super) fn all(first: u32, last: u32) -> NumberList {
        NumberList { ranges: Vec::from([Range { first, last, stride: 1 }]) }
    }

    /// Whether `number` is in the list.
    pub fn contains(&self, number: u32) -> bool {
        self.ranges.iter().any(|range| range.contains(number))
    }

    /// How many numbers are listed; what is listed twice counts twice.
    pub fn count(&self) -> usize {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.count()))
    }

    /// The numbers in the order in which they are listed.
    pub fn iter(&self) -> impl Iterator<Item = u32> + Clone {
        self.ranges.iter().flat_map(|range| range.numbers())
    }
}

impl fmt::Display for NumberList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "[";
        for Range { first, last, stride } in &self.ranges {
            match (first == last, stride) {
                (true, _) => write!(f, "{separator}{first}")?,
                (false, 1) => write!(f, "{separator}{first}-{last}")?,
                (false, stride) => write!(f, "{separator}{first}-{last}/{stride}")?,
            }
            separator = ",";
        }
        f.write_str("]")
    }
}

/// A number of digits only.
pub(super) fn decimal(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_strides() {
        let list = NumberList::parse("1,3-5,10-20/4", 255).unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), [1, 3, 4, 5, 10, 14, 18]);
        assert_eq!((list.count(), list.to_string().as_str()), (7, "[1,3-5,10-20/4]"));
        for number in 0..=255 {
            assert_eq!(list.contains(number), list.iter().any(|listed| listed == number), "{number}");
        }
        let all = NumberList::parse("0-4294967295", u32::MAX).unwrap();
        assert_eq!((all.count(), all.contains(u32::MAX)), (1 << 32, true));
    }

    #[test]
    fn what_is_no_list() {
        for text in
            ["", ",", "1,", "a", "-", "1-", "-1", "5-3", "1-5/0", "1-5/", "1/", "256", "1-256", "+1", " 1"]
        {
            assert_eq!(NumberList::parse(text, 255), Err(Problem::Number(255)), "{text:?}");
        }
    }
}
