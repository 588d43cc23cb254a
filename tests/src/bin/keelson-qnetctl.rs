//! `qnetctl`, where system tests find it.

fn main() {
    std::process::exit(keelson_qnetctl::program::run(std::env::args().skip(1)));
}
