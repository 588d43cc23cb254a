//! How many arguments system calls have (section 2 of the manual).

/// Ten calls a row, from number 0 on.
const FIRST: &[u8] = b"\
    3331222336\
    3214403443\
    3215053333\
    3312022130\
    4333663323\
    2334555003\
    1421334124\
    5332112232\
    1122122123\
    2233312221\
    1403011002\
    0002222333\
    3111122243\
    2223112223\
    2322311122\
    2100321521\
    2101252214\
    2213232154\
    3555330355\
    5444333222\
    2163312153\
    3131445310\
    4434211222\
    4144325635\
    4155234554\
    5320324434\
    5343453433\
    6512364446\
    4632142244\
    2132155455\
    2545321423\
    6653345332\
    5351336664\
    21564";
/// From number 424 on.
const SECOND: &[u8] = b"\
    426435\
    2533223434\
    5654342125\
    4";
const SECOND_FROM: u32 = 424;
/// Of calls that are in neither.
const MOST: usize = 6;

/// Arguments of this call.
pub(super) fn arity(number: u32) -> usize {
    let digit = match number.checked_sub(SECOND_FROM) {
        None => FIRST.get(number as usize),
        Some(behind) => SECOND.get(behind as usize),
    };
    digit.map_or(MOST, |digit| usize::from(digit.saturating_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_lwk_wire::calls::{Arg, all};

    #[test]
    fn calls_that_travel_have_no_more_arguments() {
        assert_eq!((FIRST.len(), SECOND.len()), (335, 27));
        for call in all().filter(|call| call.nr < 500) {
            let hidden = call.args.iter().rev().take_while(|arg| **arg == Arg::Scalar).count();
            assert!(call.args.len() - hidden <= arity(call.nr), "{}", call.name);
        }
        let of = |name| arity(keelson_lwk_wire::calls::by_name(name).unwrap().nr);
        let known = ["mmap", "brk", "futex", "wait4", "statx", "rseq", "openat2", "clone3", "getpid"];
        assert_eq!(known.map(of), [6, 1, 6, 4, 5, 4, 4, 2, 0]);
        assert_eq!((arity(400), arity(9999)), (MOST, MOST));
    }
}
