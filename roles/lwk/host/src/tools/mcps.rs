//! `mcps`: the programs and threads of one node, or of all (section 6.8).

use std::ffi::OsString;

use keelson_lwk_wire::handshake::Roles;

use super::remote::{self, Remote};
use super::{Manual, Stop, code, options, print};
use crate::nodes::Node;

const MANUAL: Manual = Manual {
    tool: "mcps",
    help: "usage: mcps [options]   the programs on all nodes of the table, or on one (--node)
  STATE  R in the program, K in the kernel, D with the host, S waiting, T stopped, Z ended
  CALL   the system call that it waits in, and for how long
  RSS    memory of the process in KiB
  --conf=<file>          node table; otherwise $LWK_CONF or /etc/lwk/nodes.conf
  --node=<name|index>    this node only
  --timeout=<seconds>    for each answer of a node (10)
  --json  -v  --version  --help",
};

/// Runs with these arguments. Returns the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    MANUAL.run(args, show)
}

fn show(args: Vec<OsString>) -> Result<i32, Stop> {
    let (common, words) = options::parse(args, false, |_, _| Ok(false))?;
    if let Some(word) = words.first() {
        return Err(options::Usage::Wrong(format!("{word}: nothing may stand here")).into());
    }
    let mut nodes = remote::table(&common)?;
    if let Some(wanted) = &common.node {
        nodes = vec![remote::find(nodes, wanted)?];
    }
    let ask = |node: &Node| {
        let json: Vec<String> = common.json.then(|| "--json".into()).into_iter().collect();
        Remote::connect(node, Roles::MONITOR, common.timeout)?.ask("ps", &json)
    };
    let (mut worst, mut texts) = (code::OK, Vec::new());
    for node in &nodes {
        match ask(node) {
            Ok(text) => texts.push(text),
            Err(problem) => {
                MANUAL.complain(&problem);
                worst = worst.max(problem.code);
            }
        }
    }
    print(&if common.json { arrays(&texts) } else { tables(&texts) })?;
    Ok(worst)
}

/// One table of several: with the head of the first.
fn tables(texts: &[String]) -> String {
    let bodies = texts.iter().enumerate().map(|(number, text)| match text.split_once('\n') {
        Some((_, body)) if number > 0 => body,
        _ => text,
    });
    bodies.collect()
}

/// One array of several.
fn arrays(texts: &[String]) -> String {
    let inner = |text: &String| Some(text.trim().strip_prefix('[')?.strip_suffix(']')?.to_owned());
    let parts: Vec<String> = texts.iter().filter_map(inner).filter(|part| !part.is_empty()).collect();
    format!("[{}]\n", parts.join(","))
}

#[test]
fn several_nodes_are_one_list() {
    let tables_of = |texts: &[&str]| tables(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    assert_eq!(tables_of(&["H\na\n", "H\nb\nc\n", "H\n"]), "H\na\nb\nc\n");
    let arrays_of = |texts: &[&str]| arrays(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    assert_eq!(arrays_of(&["[{1}]\n", "[]\n", "[{2},{3}]\n"]), "[{1},{2},{3}]\n");
}
