//! Work for `make bench` that a shell could not do without a process for every step. Compiled statically by the bench
//! (`rustc`, no crates) and put into the client.
//!
//! - `measure create FOLDER COUNT`, `stat`, `remove`: empty files, one after the other
//! - `measure locks FILE PAIRS PROCESSES`: exclusive locks of the whole file, taken and given up; each process that many
//! - `measure read FILE COUNT THREADS`: 4 KiB at random, past the client's cache
//! - `measure write FILE COUNT THREADS`: the same, each on the server's disk before the next
//! - `measure overwrite FILE COUNT`: 4 KiB at random through the client's cache, on the disk at the end

mod locks;
mod pieces;

use std::fs::{self, File};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|e| panic!("{text}: {e}"));
    match arguments[1..] {
        ["create", folder, count] => each(folder, number(count), |name| drop(File::create_new(name).unwrap())),
        ["stat", folder, count] => each(folder, number(count), |name| drop(fs::metadata(name).unwrap())),
        ["remove", folder, count] => each(folder, number(count), |name| fs::remove_file(name).unwrap()),
        ["locks", file, pairs, "1"] => locks::pairs(file, number(pairs)),
        ["locks", file, pairs, processes] => locks::crowd(file, pairs, number(processes)),
        ["read", file, count, threads] => pieces::read(file, number(count), number(threads)),
        ["write", file, count, threads] => pieces::write(file, number(count), number(threads)),
        ["overwrite", file, count] => pieces::overwrite(file, number(count)),
        _ => panic!("what is {:?}?", &arguments[1..]),
    }
}

fn each(folder: &str, count: u64, act: impl Fn(&str)) {
    (0..count).for_each(|number| act(&format!("{folder}/file-{number:05}")));
}
