//! What a build does: many small files made by many processes, read by others, renamed, and put together.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command};

use super::Test;

pub const TESTS: [Test; 3] =
    [("build", build), ("four builds at once", four_builds), ("sort and compare", sort_and_compare)];

const SOURCES: usize = 24;

fn build(root: &Path) {
    prepare(root);
    for pass in 0..2 {
        let compilers: Vec<Child> = (0..SOURCES).map(|i| start_compiler(root, i)).collect();
        for mut compiler in compilers {
            assert!(compiler.wait().unwrap().success());
        }
        link(root);
        // Only what changed is made again, as `make` sees it by its times.
        if pass == 0 {
            fs::write(source(root, 7), "changed\n".repeat(100)).unwrap();
        }
    }
    for i in 0..SOURCES {
        assert!(!root.join(format!("object{i}.tmp")).exists());
        fs::remove_file(root.join(format!("object{i}"))).unwrap();
    }
}

fn four_builds(root: &Path) {
    let program = std::env::current_exe().unwrap();
    let builds: Vec<Child> = (0..4)
        .map(|i| {
            let place = root.join(format!("build{i}"));
            fs::create_dir(&place).unwrap();
            prepare(&place);
            // A process that starts the others one after the other, as a shell would.
            let script = "i=0; while [ $i -lt \"$3\" ]; do \"$1\" compile \"$2/source$i\" \"$2/object$i\" || exit 1; i=$((i+1)); done";
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", script, "sh"]).arg(&program).arg(&place).arg(SOURCES.to_string());
            shell.spawn().unwrap()
        })
        .collect();
    for mut build in builds {
        assert!(build.wait().unwrap().success());
    }
    (0..4).for_each(|i| link(&root.join(format!("build{i}"))));
}

fn source(root: &Path, number: usize) -> std::path::PathBuf {
    root.join(format!("source{number}"))
}

fn prepare(root: &Path) {
    for i in 0..SOURCES {
        let mut file = BufWriter::new(File::create_new(source(root, i)).unwrap());
        for line in 0..200 + 10 * i {
            writeln!(file, "line {line} of source {i}").unwrap();
        }
        file.flush().unwrap();
    }
}

fn start_compiler(root: &Path, number: usize) -> Child {
    let mut compiler = Command::new(std::env::current_exe().unwrap());
    compiler.arg("compile").arg(source(root, number)).arg(root.join(format!("object{number}")));
    compiler.spawn().unwrap()
}

/// One line of numbers for each line of the source, first under another name.
pub fn compile(source: &Path, object: &Path) {
    let partial = object.with_extension("tmp");
    let mut output = BufWriter::with_capacity(512, File::create_new(&partial).unwrap());
    for line in BufReader::new(File::open(source).unwrap()).lines() {
        writeln!(output, "{:016x}", digest(&line.unwrap())).unwrap();
    }
    output.flush().unwrap();
    drop(output);
    fs::rename(&partial, object).unwrap();
}

fn digest(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

/// Puts the objects together and compares with what the sources say.
fn link(root: &Path) {
    let program = root.join("program");
    let mut whole = File::create(&program).unwrap();
    for i in 0..SOURCES {
        whole.write_all(&fs::read(root.join(format!("object{i}"))).unwrap()).unwrap();
    }
    drop(whole);
    let mut expected = String::new();
    for i in 0..SOURCES {
        for line in fs::read_to_string(source(root, i)).unwrap().lines() {
            expected += &format!("{:016x}\n", digest(line));
        }
    }
    assert!(fs::read_to_string(&program).unwrap() == expected, "the parts do not make the whole");
}

/// Programs that do not know of NFS: output of one is the input of the next.
fn sort_and_compare(root: &Path) {
    let script = r#"
        set -e
        cd "$1"
        i=0; while [ $i -lt 3000 ]; do echo "$(( i * 7919 % 3000 )) number"; i=$((i+1)); done > numbers
        sort -n numbers > sorted
        sort -rn sorted | sort -n | cmp - sorted
        [ "$(wc -l < sorted)" = 3000 ]
        sed 's/number/word/' sorted > words
        grep -c word words > count
        [ "$(cat count)" = 3000 ]
        mkdir tree copy
        i=100; while [ $i -lt 130 ]; do
            sed -n "$(( i * 100 - 9999 )),$(( i * 100 - 9900 ))p" sorted > tree/part$i; i=$((i+1))
        done
        tar cf tree.tar tree
        tar xf tree.tar -C copy
        diff -r tree copy/tree
        cat copy/tree/* | cmp - sorted
        rm -r tree copy
    "#;
    let status = Command::new("/bin/sh").args(["-c", script, "sh"]).arg(root).status().unwrap();
    assert!(status.success(), "the script failed: {status}");
}
