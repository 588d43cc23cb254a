//! The program `lwkctl`: all tools of an LWK node's host, each also by its own name.

#![forbid(unsafe_code)]

fn main() {
    std::process::exit(keelson_lwk_host::program::run(std::env::args_os().collect()));
}
