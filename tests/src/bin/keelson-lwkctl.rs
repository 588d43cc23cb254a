//! `lwkctl`, where system tests find it.

fn main() {
    std::process::exit(keelson_lwk_host::program::run(std::env::args_os().collect()));
}
