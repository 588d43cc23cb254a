//! `mcstat`: memory, processor time and threads of a node, line by line as vmstat does (section 6.8).

use std::collections::HashMap;
use std::ffi::OsString;
use std::thread;
use std::time::Duration;

use keelson_lwk_wire::handshake::Roles;

use super::options::Usage;
use super::remote::{self, Remote};
use super::{Manual, Problem, Stop, code, options, print};

const MANUAL: Manual = Manual {
    tool: "mcstat",
    help: "usage: mcstat [-n] [-s|-i|-c] [options] [delay [count]]
  memory   in MB: of the partition, in use, most in use
  tsc      processor time of programs in the kernel and in themselves, in hundredths of a second
  thread   now, and at most
  -n       head of the table once, and not every 10 lines
  -s       status of the node only
  -i       what interrupted each core
  -c       what each core does
  -h, --help
  --conf=<file>          node table; otherwise $LWK_CONF or /etc/lwk/nodes.conf
  --node=<name|index>    the node (0)
  --timeout=<seconds>    for each answer of a node (10)
  --json  -v  --version",
};

/// Lines between two heads.
const HEAD_EVERY: u64 = 10;

const HEAD: &str = "-------- memory (MB) --------- --------- tsc --------- --- thread ---\n     total   current       max      system        user current    max\n";

/// What is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Usage,
    Status,
    Interrupts,
    Cores,
}

/// Runs with these arguments. Returns the exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    MANUAL.run(args, show)
}

fn show(args: Vec<OsString>) -> Result<i32, Stop> {
    let (mut once, mut what) = (false, Show::Usage);
    let (common, words) = options::parse(args, false, |option, _| {
        match option {
            "-h" => return Err(Usage::Help),
            "-n" => once = true,
            "-s" => what = Show::Status,
            "-i" => what = Show::Interrupts,
            "-c" => what = Show::Cores,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (delay, count) = times(&words)?;
    let node = remote::find(remote::table(&common)?, common.node.as_deref().unwrap_or("0"))?;
    let mut remote = Remote::connect(&node, Roles::MONITOR, common.timeout)?;
    let json: Vec<String> = common.json.then(|| "--json".into()).into_iter().collect();
    let mut line = 0;
    loop {
        let text = match what {
            Show::Usage if common.json => remote.ask("rusage", &json)?,
            Show::Usage => {
                let head = if line == 0 || !once && line % HEAD_EVERY == 0 { HEAD } else { "" };
                head.to_owned() + &usage_line(&node.name, &remote.ask("rusage", &[])?)?
            }
            Show::Status => remote.ask("get", &[&["status".into()][..], &json].concat())?,
            Show::Interrupts => remote.ask("noise", &json)?,
            Show::Cores => remote.ask("cores", &json)?,
        };
        print(&text)?;
        line += 1;
        if count.is_some_and(|count| line >= count) {
            return Ok(code::OK);
        }
        thread::sleep(delay);
    }
}

/// `[delay [count]]`: without a delay once, without a count for ever.
fn times(words: &[String]) -> Result<(Duration, Option<u64>), Usage> {
    let number = |word: &String| {
        let wrong = || Usage::Wrong(format!("{word}: accepted are a delay in seconds and a count, from 1"));
        word.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)
    };
    match words {
        [] => Ok((Duration::ZERO, Some(1))),
        [delay] => Ok((Duration::from_secs(number(delay)?), None)),
        [delay, count] => Ok((Duration::from_secs(number(delay)?), Some(number(count)?))),
        [_, _, word, ..] => Err(Usage::Wrong(format!("{word}: nothing may stand here"))),
    }
}

/// A line of the table, of what the node says.
fn usage_line(node: &str, text: &str) -> Result<String, Problem> {
    let figures: HashMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    let figure = |name: &str| {
        let missing =
            || Problem::new(code::FAILED, format!("node {node}"), format!("it does not tell {name}"));
        figures.get(name).copied().ok_or_else(missing)
    };
    let megabytes = |name| Ok::<f64, Problem>(figure(name)? as f64 / (1 << 20) as f64);
    Ok(format!(
        "{:>10.3}{:>10.3}{:>10.3} {:>11} {:>11} {:>7} {:>6}\n",
        megabytes("memory_total")?,
        megabytes("memory_usage")?,
        megabytes("memory_max_usage")?,
        figure("cpuacct_stat_system")?,
        figure("cpuacct_stat_user")?,
        figure("num_threads")?,
        figure("max_num_threads")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_names() {
        let text = "memory_total 1073741824\nmemory_usage 1572864\nmemory_max_usage 2097152\n\
                    cpuacct_stat_system 7\ncpuacct_stat_user 123\nnum_threads 3\nmax_num_threads 4\nother[0] 5\n";
        let line = usage_line("n", text).unwrap();
        assert_eq!(line, "  1024.000     1.500     2.000           7         123       3      4\n");
        for head in HEAD.lines() {
            assert_eq!(head.len(), line.len() - 1, "{head}");
        }
        let problem = usage_line("n", "memory_total 1\n").unwrap_err();
        assert_eq!(problem.to_string(), "node n: it does not tell memory_usage");
    }

    #[test]
    fn delay_and_count() {
        let read = |line: &str| times(&line.split_whitespace().map(String::from).collect::<Vec<_>>());
        assert_eq!(read(""), Ok((Duration::ZERO, Some(1))));
        assert_eq!(read("2"), Ok((Duration::from_secs(2), None)));
        assert_eq!(read("2 5"), Ok((Duration::from_secs(2), Some(5))));
        assert!(read("0").is_err() && read("x").is_err() && read("1 2 3").is_err());
    }
}
