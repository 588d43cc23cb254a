//! Listings in pages while names come and go.

use super::*;
use std::collections::BTreeSet;

/// Names that stay are listed exactly once, whatever happens between pages: the directory becomes a tree, blocks
/// are divided, other names come and go.
#[test]
fn every_name_that_stays_is_listed_once() {
    for arguments in [&["-b", "1024"][..], &["-b", "4096"], &["-b", "1024", "-O", "^dir_index"]] {
        for seed in 1..6 {
            let mut fixture = Fixture::new(8, arguments);
            fixture.random = seed;
            // Few enough for one block at first, or many.
            let stay = if seed % 2 == 0 { 6 } else { 150 };
            for number in 0..stay {
                fixture.insert(&name(number));
            }
            let (mut seen, mut cookie, mut next) = (BTreeSet::new(), 0, 1000);
            loop {
                let most = 1 + fixture.below(600);
                let page = fixture.page(cookie, most).expect("list");
                for entry in &page.entries {
                    assert!(entry.cookie > cookie, "cookies rise");
                    cookie = entry.cookie;
                    assert!(seen.insert(entry.name.clone()), "{:?} twice", entry.name);
                }
                if page.end {
                    break;
                }
                for _ in 0..20 {
                    fixture.insert(&name(next));
                    next += 1;
                    let other = name(1000 + fixture.below(next - 1000));
                    if fixture.model.contains_key(&other) {
                        fixture.remove(&other);
                    }
                }
                if next > 4000 {
                    // Enough of it: a client that is slower than others' changes still gets to an end.
                    let others: Vec<_> =
                        (1000..next).map(name).filter(|name| fixture.model.contains_key(name)).collect();
                    for name in others {
                        fixture.remove(&name);
                    }
                }
            }
            for number in 0..stay {
                assert!(seen.contains(&name(number)), "name {number} is missing");
            }
        }
    }
}

#[test]
fn pages_hold_what_fits_and_one_at_least() {
    for count in [5, 500] {
        let mut fixture = Fixture::new(8, &["-b", "1024"]);
        for number in 0..count {
            fixture.insert(&name(number));
        }
        let whole = fixture.list(usize::MAX);
        assert_eq!(whole.len(), count + 2);
        for most in [0, 1, 25, 100, 1000, 5000, 100_000] {
            assert_eq!(fixture.list(most), whole);
            let page = fixture.page(0, most).expect("list");
            let bytes: usize = page.entries.iter().map(|entry| entry.name.len() + 24).sum();
            assert!(bytes <= most || page.entries.len() == 1);
        }
        // From every place, even between cookies.
        for &cookie in whole.keys() {
            let page = fixture.page(cookie, 400).expect("list");
            let behind: Vec<_> =
                whole.range(cookie + 1..).map(|(&cookie, _)| cookie).take(page.entries.len()).collect();
            assert_eq!(page.entries.iter().map(|entry| entry.cookie).collect::<Vec<_>>(), behind);
            assert_eq!(page.end, whole.range(cookie + 1..).count() == behind.len());
            assert_eq!(fixture.page(cookie - 1, 1).expect("list").entries[0].cookie, cookie);
        }
        for cookie in [u64::MAX, 1 << 63, (1 << 63) - 1] {
            let page = fixture.page(cookie, 400).expect("list");
            assert!(page.entries.is_empty() && page.end);
        }
    }
}

#[test]
fn a_tree_is_listed_as_its_first_block_was() {
    let mut fixture = Fixture::new(8, &["-b", "1024"]);
    for number in 0..6 {
        fixture.insert(&name(number));
    }
    let before = fixture.list(usize::MAX);
    assert_eq!(fixture.inode().size, 1024);
    for number in 6..100 {
        fixture.insert(&name(number));
    }
    let after = fixture.list(usize::MAX);
    for (cookie, entry) in before {
        assert_eq!(after.get(&cookie), Some(&entry));
    }
}

/// A page costs the blocks that it shows, not the directory.
#[test]
fn a_page_reads_few_blocks() {
    let mut fixture = Fixture::new(16, &["-b", "1024"]);
    for number in 0..5000 {
        fixture.insert(format!("file-{number:06}").as_bytes());
    }
    let cookies: Vec<u64> = fixture.list(usize::MAX).keys().copied().collect();
    for &cookie in cookies.iter().step_by(500) {
        fixture.reopen();
        fixture.inode();
        let before = fixture.bench.misses;
        let page = fixture.page(cookie, 1500).expect("list");
        assert!(page.end || page.entries.len() > 30);
        assert!(fixture.bench.misses - before <= 8, "{} blocks", fixture.bench.misses - before);
    }
}
