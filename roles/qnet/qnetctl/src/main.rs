//! The program `qnetctl`: a Qnet node on this host, and what it does.

#![forbid(unsafe_code)]

fn main() {
    std::process::exit(keelson_qnetctl::program::run(std::env::args().skip(1)));
}
