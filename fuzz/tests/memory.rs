//! Nothing of one input stays for the next: millions of them run in one process. A test of its own, since it counts the
//! heap of all.

use keelson_ext4_gate::heap;
use keelson_fuzz::{TARGETS, corpus, run};

/// What the runtime may keep, in bytes.
const SLACK: usize = 64 << 10;

#[test]
fn nothing_of_an_input_stays() {
    for (name, target) in TARGETS.iter().filter(|(name, _)| *name != "ext4") {
        let files =
            std::fs::read_dir(corpus(name)).unwrap_or_else(|error| panic!("corpus of {name}: {error}"));
        for file in files {
            let file = file.expect("an entry").path();
            let input = std::fs::read(&file).expect("an input");
            run(*target, &input);
            let before = heap::now();
            for _ in 0..3 {
                run(*target, &input);
            }
            let grown = heap::now().saturating_sub(before);
            assert!(grown < SLACK, "{}: {grown} bytes more each three times", file.display());
        }
    }
}
