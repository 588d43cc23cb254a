//! The verbs of `ihkosctl` that act on what is recorded of a node, or on its machine, instead of on the node (section 6.3).

use std::path::Path;

use keelson_lwk::options::cpulist;

use super::memory::Memory;
use super::parameters::{self, Boot};
use super::place::Place;
use super::problem::Problem;
use super::record::Record;
use super::status::{self, Status};
use super::stop::{self, Manner};
use super::{image, kargs, start};
use crate::nodes::Node;

/// Performs a verb, if it is one for a node's record or its machine in the state it is in; `None` for what the running node itself
/// has to be asked. What is returned is for standard output.
pub fn ihkosctl(verb: &str, args: &[String], place: &Place, node: &Node) -> Option<Result<String, Problem>> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let verbs = Verbs { place, node };
    match (verb, &args[..]) {
        ("load", [path]) => Some(verbs.load(Path::new(path))),
        ("kargs", [line]) => Some(verbs.kargs(line)),
        ("assign", ["cpu", list]) => Some(verbs.assign_cpu(list)),
        ("assign", ["mem", list]) => Some(verbs.assign_memory(list)),
        ("release", ["cpu", list]) => Some(verbs.release_cpu(list)),
        ("release", ["mem", list]) => Some(verbs.release_memory(list)),
        ("set", ["ikc_map", map]) => Some(verbs.set_ikc_map(map)),
        ("get", ["ikc_map"]) => Some(verbs.record().map(|record| record.ikc_map + "\n")),
        ("boot", []) => Some(verbs.boot()),
        ("shutdown", words) if words.iter().all(|word| ["-f", "--wait"].contains(word)) => {
            verbs.shutdown(words)
        }
        ("get", ["status"]) => verbs.unless_running(|status| Ok(format!("{}\n", status.word()))),
        ("get", ["buildid"]) => verbs.unless_running(|_| verbs.build()),
        ("query", ["cpu"]) => verbs.unless_running(|_| Ok(cpulist::format(&verbs.record()?.cpus) + "\n")),
        ("query", ["mem"]) => verbs.unless_running(|_| Ok(verbs.record()?.memory.in_bytes() + "\n")),
        ("load" | "kargs" | "assign" | "release" | "set" | "boot" | "shutdown", _) => {
            let given = args.join(" ");
            Some(Err(Problem::usage(verb, format!("{given:?} cannot follow it; --help says what can"))))
        }
        _ => None,
    }
}

struct Verbs<'a> {
    place: &'a Place,
    node: &'a Node,
}

impl Verbs<'_> {
    fn record(&self) -> Result<Record, Problem> {
        Record::load(&self.place.directory(self.node.index))
    }

    /// True when this host boots the node: the table says how, or one of the tools has done something with it. What others boot
    /// is asked itself.
    fn is_ours(&self) -> bool {
        let says_how = self.node.parameters.iter().any(|word| word.starts_with("boot="));
        says_how || self.place.directory(self.node.index).exists()
    }

    /// Answers for a node that cannot do so itself.
    fn unless_running(
        &self,
        answer: impl FnOnce(Status) -> Result<String, Problem>,
    ) -> Option<Result<String, Problem>> {
        if !self.is_ours() {
            return None;
        }
        match status::of(self.place, self.node) {
            Ok(Status::Running) => None,
            Ok(status) => Some(answer(status)),
            Err(problem) => Some(Err(problem)),
        }
    }

    /// Changes the record of a node that is INACTIVE.
    fn change(&self, change: impl FnOnce(&mut Record) -> Result<(), Problem>) -> Result<String, Problem> {
        let _lock = self.place.lock(self.node)?;
        self.must_be_inactive()?;
        let mut record = self.record()?;
        change(&mut record)?;
        record.save(&self.place.directory(self.node.index))?;
        Ok(String::new())
    }

    fn must_be_inactive(&self) -> Result<(), Problem> {
        match status::of(self.place, self.node)? {
            Status::Inactive => Ok(()),
            status => {
                let reason = format!("is {}, must be INACTIVE; shut it down first", status.word());
                Err(Problem::state(format!("node {}", self.node.name), reason))
            }
        }
    }

    fn load(&self, path: &Path) -> Result<String, Problem> {
        let (path, _) = image::verify(path)?;
        self.change(|record| {
            record.image = Some(path);
            Ok(())
        })
    }

    fn build(&self) -> Result<String, Problem> {
        let path = self.record()?.image.unwrap_or_else(image::default);
        Ok(image::verify(&path)?.1.built + "\n")
    }

    fn kargs(&self, line: &str) -> Result<String, Problem> {
        kargs::check(line)?;
        self.change(|record| {
            record.kargs = Some(line.trim().to_owned());
            Ok(())
        })
    }

    fn assign_cpu(&self, list: &str) -> Result<String, Problem> {
        let cpus = cpulist::parse(list).map_err(|reason| Problem::usage("cpu", reason))?;
        self.change(|record| {
            if let Some(twice) = cpus.iter().find(|core| record.cpus.contains(core)) {
                return Err(Problem::usage("cpu", format!("processor {twice} is assigned already")));
            }
            record.cpus.extend(cpus);
            Ok(())
        })
    }

    fn assign_memory(&self, list: &str) -> Result<String, Problem> {
        let memory = Memory::parse(list).map_err(|reason| Problem::usage("mem", reason))?;
        self.change(|record| {
            record.memory.add(&memory);
            if record.host_memory.is_empty() {
                return Ok(());
            }
            record.host_memory.covers(&record.memory).map_err(|reason| Problem::usage("mem", reason))
        })
    }

    fn release_cpu(&self, list: &str) -> Result<String, Problem> {
        self.change(|record| take_cpus(&mut record.cpus, list))
    }

    fn release_memory(&self, list: &str) -> Result<String, Problem> {
        self.change(|record| take_memory(&mut record.memory, list))
    }

    fn set_ikc_map(&self, map: &str) -> Result<String, Problem> {
        kargs::check_ikc_map(map)?;
        self.change(|record| {
            record.ikc_map = map.to_owned();
            Ok(())
        })
    }

    fn boot(&self) -> Result<String, Problem> {
        let _lock = self.place.lock(self.node)?;
        self.must_be_inactive()?;
        let prepared = start::prepare(self.place, self.node, &self.record()?)?;
        prepared.start().inspect_err(|_| {
            // Half a start is none. What is wrong with it is said by the caller.
            let _ = stop::stop(self.place, self.node, Manner::Forced);
        })?;
        Ok(String::new())
    }

    /// `None` where somebody else's machine has to be asked.
    fn shutdown(&self, words: &[&str]) -> Option<Result<String, Problem>> {
        if !self.is_ours() || matches!(parameters::read(self.node), Ok(Boot::Manual)) {
            return None;
        }
        Some(self.end(words.contains(&"-f"), words.contains(&"--wait")))
    }

    fn end(&self, force: bool, wait: bool) -> Result<String, Problem> {
        let status = status::of(self.place, self.node)?;
        if status == Status::Inactive {
            return Ok(String::new());
        }
        let orderly = !force && matches!(status, Status::Running | Status::Shutdown);
        let manner = if orderly { Manner::Orderly } else { Manner::Forced };
        if !wait {
            stop::stop_behind(self.place, self.node, manner)?;
            return Ok(String::new());
        }
        let _lock = self.place.lock(self.node)?;
        stop::stop(self.place, self.node, manner)?;
        Ok(String::new())
    }
}

/// Takes processors, or `all`, from a list.
pub fn take_cpus(from: &mut Vec<usize>, list: &str) -> Result<(), Problem> {
    if list == "all" {
        from.clear();
        return Ok(());
    }
    let taken = cpulist::parse(list).map_err(|reason| Problem::usage("cpu", reason))?;
    if let Some(missing) = taken.iter().find(|core| !from.contains(core)) {
        let there = if from.is_empty() { "none".into() } else { cpulist::format(from) };
        return Err(Problem::usage("cpu", format!("processor {missing} is not in the list: {there}")));
    }
    from.retain(|core| !taken.contains(core));
    Ok(())
}

/// Takes memory, or `all`, from a list.
pub fn take_memory(from: &mut Memory, list: &str) -> Result<(), Problem> {
    if list == "all" {
        *from = Memory::default();
        return Ok(());
    }
    let taken = Memory::parse(list).and_then(|memory| from.take(&memory));
    taken.map_err(|reason| Problem::usage("mem", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_taken_from_a_list() {
        let mut cpus = vec![3, 1, 2];
        take_cpus(&mut cpus, "1").unwrap();
        assert_eq!(cpus, [3, 2]);
        let problem = take_cpus(&mut cpus, "2,7").unwrap_err();
        assert_eq!(problem.to_string(), "cpu: processor 7 is not in the list: 3,2");
        take_cpus(&mut cpus, "all").unwrap();
        assert!(cpus.is_empty());
    }
}
