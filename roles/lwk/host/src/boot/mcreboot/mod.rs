//! `mcreboot`: boots a node, again if it runs, and leaves nothing behind when that fails (section 6.4).

mod options;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::ihkconfig;
use super::place::Place;
use super::ports;
use super::problem::{Problem, code, complain, end};
use super::qemu::{Files, shell_line};
use super::record::Record;
use super::start::{self, Prepared};
use super::status::{self, Status};
use super::stop::{self, Manner};
use super::words::Words;
use super::{image, monitor};
use crate::nodes::{Address, Node};
use options::{Options, Parsed};

/// The tool.
const TOOL: &str = "mcreboot";

/// Runs with these arguments. Returns the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    let result = Words::new(args).and_then(Options::parse).and_then(|parsed| match parsed {
        Parsed::Print(text) => Ok(text),
        Parsed::Options(options) => perform(&options),
    });
    end(TOOL, result.map_err(|problem| Problem { code: exit_code(problem.code), ..problem }))
}

/// Only these are documented of mcreboot.
fn exit_code(code: i32) -> i32 {
    if [code::USAGE, code::TIMEOUT].contains(&code) { code } else { code::FAILED }
}

/// What there is of a node before it is booted.
struct Before {
    node: Node,
    /// The table has it.
    listed: bool,
    /// Something is recorded of it.
    directory: bool,
    record: Record,
}

fn perform(options: &Options) -> Result<String, Problem> {
    let place = Place::new(options.conf.clone())?;
    let before = before(&place, options)?;
    let mut record = options.record(&before.record);
    record.made = before.record.made || !before.listed;
    if let Some(path) = &record.image {
        record.image = Some(image::verify(path)?.0);
    }
    if !record.monitor.is_empty() {
        monitor::there()?;
    }
    if let Some(owner) = &record.owner {
        Owner::parse(owner)?;
    }
    ihkconfig::check_key(&before.node)?;
    let prepared = start::prepare(&place, &before.node, &record)?;
    if options.print {
        return Ok(prepared.commands().iter().map(|words| shell_line(words) + "\n").collect());
    }
    boot(&place, options, before, &record, &prepared).map(|()| String::new())
}

/// The node that is meant. Number by number, one that the table lacks is made: a machine of this host.
fn before(place: &Place, options: &Options) -> Result<Before, Problem> {
    let wanted =
        options.node.clone().or_else(|| std::env::var("LWK_NODE").ok()).unwrap_or_else(|| "0".into());
    let (node, listed) = match (place.find(&wanted)?, wanted.parse()) {
        (Some(node), _) => (node, true),
        (None, Ok(index)) => (ihkconfig::plan(place, index, &[])?, false),
        (None, Err(_)) => (place.node(&wanted)?, true),
    };
    let directory = place.directory(node.index);
    let record = Record::load(&directory)?;
    Ok(Before { listed, directory: directory.exists(), record, node })
}

/// What was done, and is undone in the reverse order when something fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    KeyMade,
    Listed,
    Recorded,
    MonitorStarted,
    MachineStarted,
}

fn boot(
    place: &Place,
    options: &Options,
    before: Before,
    record: &Record,
    prepared: &Prepared,
) -> Result<(), Problem> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())
            .map_err(|error| Problem::failed("signals", error))?;
    }
    let _lock = place.lock(&before.node)?;
    let mut ladder = Ladder { place, before, verbose: options.verbose, done: Vec::new() };
    let climbed = ladder.climb(options, record, prepared, &interrupted);
    climbed.inspect_err(|_| ladder.undo())
}

/// The way to a node that runs, and back.
struct Ladder<'a> {
    place: &'a Place,
    before: Before,
    verbose: bool,
    done: Vec<Step>,
}

impl Ladder<'_> {
    fn climb(
        &mut self,
        options: &Options,
        record: &Record,
        prepared: &Prepared,
        interrupted: &AtomicBool,
    ) -> Result<(), Problem> {
        let (place, node) = (self.place, self.before.node.clone());
        let directory = place.directory(node.index);
        let files = Files::of(&directory);
        if ihkconfig::make_key(place, &node)? {
            self.done(Step::KeyMade, "key made");
        }
        if !self.before.listed {
            place.add(&node)?;
            self.done(Step::Listed, "added to the table");
        }
        if status::of(place, &node)? != Status::Inactive {
            self.say("ends");
            stop::stop(place, &node, Manner::Orderly)?;
        }
        record.save(&directory)?;
        self.done(Step::Recorded, "recorded");
        monitor::stop(&files)?;
        if !record.monitor.is_empty() {
            monitor::start(place, &node, &files, &record.monitor)?;
            self.done(Step::MonitorStarted, "ihkmond started");
        }
        self.done(Step::MachineStarted, "machine starts");
        prepared.start()?;
        if let Some(owner) = &record.owner {
            // A node without it is still a node.
            let given = Owner::parse(owner).and_then(|owner| owner.give(&node, &files));
            let _ = given.inspect_err(|problem| complain(TOOL, format!("warning: {problem}")));
        }
        prepared.await_running(options.wait, interrupted)?;
        self.say("RUNNING");
        Ok(())
    }

    fn done(&mut self, step: Step, what: &str) {
        self.done.push(step);
        self.say(what);
    }

    fn say(&self, what: &str) {
        if self.verbose {
            complain(TOOL, format!("node {}: {what}", self.before.node.name));
        }
    }

    /// Undoes everything, as far as it goes: what cannot be undone is said.
    fn undo(&mut self) {
        let (place, node) = (self.place, self.before.node.clone());
        let directory = place.directory(node.index);
        while let Some(step) = self.done.pop() {
            self.say(&format!("undo {step:?}"));
            let undone = match step {
                Step::MachineStarted => stop::stop(place, &node, Manner::Forced),
                Step::MonitorStarted => monitor::stop(&Files::of(&directory)),
                Step::Recorded if self.before.directory => self.before.record.save(&directory),
                Step::Recorded => Ok(()),
                Step::Listed => place.remove(node.index),
                Step::KeyMade => {
                    ihkconfig::forget_key(place, &node);
                    Ok(())
                }
            };
            let _ = undone.inspect_err(|problem| complain(TOOL, problem));
        }
        if !self.before.directory {
            let _ = place.forget(node.index).inspect_err(|problem| complain(TOOL, problem));
        }
    }
}

/// `-o`: who may use the node.
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    fn parse(text: &str) -> Result<Owner, Problem> {
        let wrong = |what: &str| Problem::usage("-o", format!("{text}: no such {what}"));
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let user = nix::unistd::User::from_name(user).ok().flatten().ok_or_else(|| wrong("user"))?;
        let group = match group {
            None => user.gid,
            Some(group) => {
                nix::unistd::Group::from_name(group).ok().flatten().ok_or_else(|| wrong("group"))?.gid
            }
        };
        Ok(Owner { user: user.uid.as_raw(), group: group.as_raw() })
    }

    fn give(&self, node: &Node, files: &Files) -> Result<(), Problem> {
        let mut paths: Vec<PathBuf> = node.key_file.iter().cloned().collect();
        if files.qmp.exists() {
            paths.push(files.qmp.clone());
        }
        if let Address::Unix(directory) = &node.address {
            paths.extend(ports::owned(directory));
        }
        for path in paths {
            std::os::unix::fs::chown(&path, Some(self.user), Some(self.group))
                .map_err(|error| Problem::failed(path.display(), error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documented_exit_codes() {
        assert_eq!([1, 2, 3, 4, 5, 6].map(exit_code), [1, 2, 1, 1, 1, 6]);
    }

    #[test]
    fn owners() {
        let root = Owner::parse("root:root").unwrap();
        assert_eq!((root.user, root.group), (0, 0));
        assert!(Owner::parse("no-such-user").is_err() && Owner::parse("root:no-such-group").is_err());
    }
}
