//! `make release`: see [`keelson_tests::release`].

use keelson_tests::release::Release;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str =
    "release VERSION SECONDS-SINCE-1970   (after `make images`; writes to images/out/release)";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [version, time] = &words[..] else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    };
    let Ok(time) = time.parse() else {
        eprintln!("{time:?} is no number; usage: {USAGE}");
        return ExitCode::from(2);
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let release =
        Release { root: root.into(), out: root.join("images/out/release"), version: version.clone(), time };
    match release.make() {
        Ok(folder) => {
            println!("{}", folder.display());
            print!("{}", std::fs::read_to_string(folder.join("MATRIX.md")).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("release: {error}");
            ExitCode::FAILURE
        }
    }
}
