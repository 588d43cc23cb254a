//! What programs do with files and directories, in the manner of the Connectathon suite and of fsx. Compiled statically by the
//! tests (`rustc`, no crates) and put into the guest. Ends with status 0 if all is well.
//!
//! - `files basic FOLDER`, `files general FOLDER`, `files special FOLDER`: one line for each test that passed
//! - `files space FOLDER`: the same, of what can be tested only while nobody else uses the file system
//! - `files fuzz FILE SEED SECONDS`: prints the number of operations

mod basic;
mod fuzz;
mod general;
mod random;
mod special;
mod sys;

use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|e| panic!("{text}: {e}"));
    match arguments[1..] {
        ["basic", folder] => in_turn(Path::new(folder), &basic::TESTS),
        ["space", folder] => in_turn(Path::new(folder), &basic::SPACE),
        ["general", folder] => in_turn(Path::new(folder), &general::TESTS),
        ["special", folder] => in_turn(Path::new(folder), &special::TESTS),
        ["compile", source, object] => general::compile(Path::new(source), Path::new(object)),
        ["fuzz", file, seed, seconds] => {
            fuzz::fuzz(Path::new(file), number(seed), Duration::from_secs(number(seconds)));
        }
        _ => panic!("what is {:?}?", &arguments[1..]),
    }
}

/// A test by name.
type Test = (&'static str, fn(&Path));

/// Runs each in a new folder and removes that.
fn in_turn(folder: &Path, tests: &[Test]) {
    for (name, test) in tests {
        let place = folder.join(name.replace(' ', "-"));
        std::fs::create_dir_all(&place).expect("a folder for the test");
        let start = Instant::now();
        test(&place);
        std::fs::remove_dir_all(&place).unwrap_or_else(|error| panic!("remove what {name} left: {error}"));
        println!("{:6.2} s  {name}", start.elapsed().as_secs_f64());
    }
}
