//! The command line of mcexec (section 6.1). Options end at the first word that is none; a number there is the node's index.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use keelson_lwk_wire::messages::{LaunchFlags, LaunchOptions, NetMode};

/// One line.
pub const USAGE: &str =
    "usage: mcexec [options] [<node-index>] <program> [arguments]   (--help lists the options)";

/// `--help`.
pub const HELP: &str = "usage: mcexec [options] [<node-index>] <program> [arguments]
  -c <core>                      core of the first thread
  -n <processes>                 processes that share the node
  -t <threads>                   workers at the start
  -M, --mpol-threshold=<bytes>   smallest allocation that follows the memory policy
  -m <nodes>                     preferred NUMA nodes: 0,2-3 | all | !1 | +0,1
  -h, --extend-heap-by=<bytes>   growth of the heap
  -s, --stack-premap=[<premap>][,<max>]
  --mpol-no-heap --mpol-no-stack --mpol-no-bss --mpol-shm-premap
  --disable-sched-yield --enable-vdso --disable-vdso --no-bind-ikc-map --proxy-cpu=<cpu>
  -u, --uti-thread-rank=<n>      the n-th thread is a helper, on a service core; --helper-first=<n>: the first n are
  --helper-auto                  threads for which there is no core are
  --uti-use-last-cpu             helpers run on the last service core
  --enable-uti                   accepted: helpers need not be enabled
  -O                             more threads than cores
  -e NAME=value                  variable for the program
  --noise-audit                  what interrupted the program's cores, at its end
  --profile[=json]               what each system call took, when a process ends
  --trace[=<file>]               a line for each system call that is over: L, or D and the time of the host
  --net=local|delegate --write-behind=<bytes> --ioctl=flat
  --root=<dir> --ro --deny=net --allow-root
  --core=<pattern>|off           core files; %p is the process id
  --node-by-rank=<node>,...      nodes of an MPI job: -n ranks for each, in their order
  --node=<name|index> --conf=<file> --key=<file> --timeout=<seconds> --linux-fallback";

/// Why there are no options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Usage {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// `-n` with something that is no number of processes.
    Processes,
    /// Everything else.
    Wrong(String),
}

/// A command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// What the node must honour.
    pub launch: LaunchOptions,
    /// `-n`; 0 = absent.
    pub processes: u32,
    /// `-t`
    pub threads: Option<u32>,
    /// `-e`
    pub variables: Vec<(OsString, OsString)>,
    /// `--node`, or the number before the program.
    pub node: Option<String>,
    /// `--node-by-rank`
    pub node_by_rank: Option<Vec<String>>,
    /// `--conf`
    pub conf: Option<PathBuf>,
    /// `--key`
    pub key: Option<PathBuf>,
    /// `--timeout`, seconds to wait for LAUNCH_ACK.
    pub timeout: u64,
    /// `--root`
    pub root: Option<PathBuf>,
    /// `--ro`
    pub read_only: bool,
    /// `--deny=net`
    pub deny_net: bool,
    /// `--proxy-cpu`: the processor of the host that does what the node does not.
    pub proxy_cpu: Option<u32>,
    /// `--allow-root`
    pub allow_root: bool,
    /// `--noise-audit`
    pub noise_audit: bool,
    /// `--trace=`: where its lines go. `None` = standard error.
    pub trace: Option<PathBuf>,
    /// `--linux-fallback`
    pub linux_fallback: bool,
    /// `--core`
    pub core: Option<String>,
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            launch: LaunchOptions::default(),
            processes: 0,
            threads: None,
            variables: Vec::new(),
            node: None,
            node_by_rank: None,
            conf: None,
            key: None,
            timeout: 60,
            root: None,
            read_only: false,
            deny_net: false,
            proxy_cpu: None,
            allow_root: false,
            noise_audit: false,
            trace: None,
            linux_fallback: false,
            core: None,
            program: OsString::new(),
            args: Vec::new(),
        }
    }
}

/// Options without a value that set a flag of LAUNCH.
const FLAGS: &[(&str, LaunchFlags)] = &[
    ("--mpol-no-heap", LaunchFlags::MPOL_NO_HEAP),
    ("--mpol-no-stack", LaunchFlags::MPOL_NO_STACK),
    ("--mpol-no-bss", LaunchFlags::MPOL_NO_BSS),
    ("--mpol-shm-premap", LaunchFlags::MPOL_SHM_PREMAP),
    ("--disable-sched-yield", LaunchFlags::NO_SCHED_YIELD),
    ("--enable-uti", LaunchFlags::UTI),
    ("--uti-use-last-cpu", LaunchFlags::UTI_LAST_CPU),
    ("--disable-vdso", LaunchFlags::NO_VDSO),
    ("--profile", LaunchFlags::PROFILE),
    ("--trace", LaunchFlags::TRACE),
    ("-O", LaunchFlags::OVERSUBSCRIBE),
    ("--helper-auto", LaunchFlags::HELPER_AUTO),
    ("--noise-audit", LaunchFlags::NOISE_AUDIT),
];

/// Options that take a value: the next word, or what follows `=` (long) or the letter (short).
const VALUES: &[&str] = &[
    "-c",
    "-n",
    "-t",
    "-M",
    "--mpol-threshold",
    "-m",
    "-h",
    "--extend-heap-by",
    "-s",
    "--stack-premap",
    "-u",
    "--uti-thread-rank",
    "--helper-first",
    "-e",
    "--net",
    "--write-behind",
    "--root",
    "--deny",
    "--core",
    "--node",
    "--node-by-rank",
    "--conf",
    "--key",
    "--timeout",
    "--ioctl",
    "--proxy-cpu",
];

/// Bytes with a suffix k, m, g or t.
pub fn bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (text.get(..text.len() - 1)?, 10),
        b'm' => (text.get(..text.len() - 1)?, 20),
        b'g' => (text.get(..text.len() - 1)?, 30),
        b't' => (text.get(..text.len() - 1)?, 40),
        _ => (text, 0),
    };
    let value: u64 = digits.parse().ok()?;
    value.checked_mul(1 << shift)
}

impl Options {
    /// From the words behind the program's name.
    pub fn parse(words: Vec<OsString>) -> Result<Options, Usage> {
        let mut options = Options::default();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next_if(|word| word.as_bytes().starts_with(b"-") && word.len() > 1) {
            if word == "--" {
                break;
            }
            let text = word
                .to_str()
                .ok_or_else(|| Usage::Wrong(format!("{}: not an option", word.display())))?
                .to_owned();
            match text.as_str() {
                "--help" => return Err(Usage::Help),
                "--version" => return Err(Usage::Version),
                _ => {}
            }
            if let Some((name, value)) = split(&text) {
                let value = match value {
                    Some(value) => OsString::from(value),
                    None => words.next().ok_or_else(|| Usage::Wrong(format!("{name}: needs a value")))?,
                };
                options.value(name, value)?;
            } else {
                options.flag(&text)?;
            }
        }
        if let Some(index) = words.peek().and_then(|word| word.to_str()).filter(|word| is_index(word)) {
            options.node = Some(index.to_owned());
            words.next();
        }
        options.program = words.next().ok_or_else(|| Usage::Wrong("no program".into()))?;
        options.args = words.collect();
        Ok(options)
    }

    fn flag(&mut self, name: &str) -> Result<(), Usage> {
        if let Some((_, flag)) = FLAGS.iter().find(|(flag, _)| *flag == name) {
            self.launch.flags |= *flag;
            self.noise_audit |= *flag == LaunchFlags::NOISE_AUDIT;
            return Ok(());
        }
        if let Some(path) = name.strip_prefix("--trace=").filter(|path| !path.is_empty()) {
            self.launch.flags |= LaunchFlags::TRACE;
            self.trace = Some(path.into());
            return Ok(());
        }
        match name {
            "--profile=json" => self.launch.flags |= LaunchFlags::PROFILE | LaunchFlags::PROFILE_JSON,
            "--enable-vdso" => self.launch.flags.remove(LaunchFlags::NO_VDSO),
            "--ro" => {
                self.read_only = true;
                self.launch.flags |= LaunchFlags::READ_ONLY;
            }
            "--allow-root" => self.allow_root = true,
            "--linux-fallback" => self.linux_fallback = true,
            // There is no map of cores here to be bound to.
            "--no-bind-ikc-map" => {}
            _ => return Err(Usage::Wrong(format!("{name}: no such option"))),
        }
        Ok(())
    }

    fn value(&mut self, name: &str, raw: OsString) -> Result<(), Usage> {
        let wrong = || Usage::Wrong(format!("{name}: {}: not a value for it", raw.display()));
        if name == "-e" {
            let at = raw
                .as_bytes()
                .iter()
                .position(|byte| *byte == b'=')
                .filter(|at| *at > 0)
                .ok_or_else(wrong)?;
            let (name, value) = raw.as_bytes().split_at(at);
            let value = value.get(1..).unwrap_or_default();
            self.variables.push((os(name), os(value)));
            return Ok(());
        }
        match name {
            "--root" => {
                self.root = Some(raw.into());
                return Ok(());
            }
            "--conf" => {
                self.conf = Some(raw.into());
                return Ok(());
            }
            "--key" => {
                self.key = Some(raw.into());
                return Ok(());
            }
            _ => {}
        }
        let text = raw.to_str().ok_or_else(wrong)?;
        let number = || text.parse::<u32>().map_err(|_| wrong());
        let size = || bytes(text).ok_or_else(wrong);
        match name {
            "-c" => self.launch.core = Some(number()?),
            "-n" => self.processes = text.parse().ok().filter(|count| *count > 0).ok_or(Usage::Processes)?,
            "-t" => self.threads = Some(number()?.max(1)),
            "-M" | "--mpol-threshold" => self.launch.mpol_threshold = size()?,
            "-m" => self.launch.numa = numa(text).ok_or_else(wrong)?,
            "-h" | "--extend-heap-by" => self.launch.heap_step = size()?.max(4096),
            "-s" | "--stack-premap" => self.stack(text).ok_or_else(wrong)?,
            "-u" | "--uti-thread-rank" => self.launch.uti_thread_rank = number()?,
            "--helper-first" => self.launch.helper_first = number()?,
            "--net" => {
                self.launch.net = match text {
                    "local" => NetMode::Local,
                    "delegate" => NetMode::Delegate,
                    _ => return Err(wrong()),
                }
            }
            "--write-behind" => self.launch.write_behind = size()?,
            "--deny" if text == "net" => self.deny_net = true,
            "--ioctl" if text == "flat" => self.launch.flags |= LaunchFlags::IOCTL_FLAT,
            "--core" => {
                self.core = Some(text.to_owned());
                self.launch.flags.set(LaunchFlags::NO_CORE, text == "off");
            }
            "--node" => self.node = Some(text.to_owned()),
            "--node-by-rank" => {
                let nodes: Vec<String> = text.split(',').map(str::to_owned).collect();
                self.node_by_rank = Some(nodes).filter(|nodes| !nodes.iter().any(String::is_empty));
                self.node_by_rank.as_ref().ok_or_else(wrong)?;
            }
            "--timeout" => self.timeout = number()?.into(),
            "--proxy-cpu" => self.proxy_cpu = Some(number()?),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// `[<premap>][,<max>]`
    pub(super) fn stack(&mut self, text: &str) -> Option<()> {
        let (premap, most) = text.split_once(',').map_or((text, None), |(premap, most)| (premap, Some(most)));
        if !premap.is_empty() {
            self.launch.stack.premap = bytes(premap)?;
        }
        if let Some(most) = most.filter(|most| !most.is_empty()) {
            self.launch.stack.most = Some(bytes(most)?);
        }
        Some(())
    }

    /// Unknown ioctl requests go by their numbers.
    pub fn flat_ioctl(&self) -> bool {
        self.launch.flags.contains(LaunchFlags::IOCTL_FLAT)
    }

    /// Where core files go.
    pub fn core_pattern(&self) -> Option<String> {
        match self.core.as_deref() {
            Some("off") => None,
            Some(pattern) => Some(pattern.to_owned()),
            None => Some("core.%p".into()),
        }
    }

    /// Workers at the start; more come when they are needed.
    pub fn workers(&self) -> u32 {
        let threads = std::env::var("OMP_NUM_THREADS").ok().and_then(|text| text.parse::<u32>().ok());
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let default = threads.unwrap_or(cores / self.processes.max(1)).saturating_add(4);
        self.threads.unwrap_or(default).min(64)
    }
}

fn os(bytes: &[u8]) -> OsString {
    std::ffi::OsStr::from_bytes(bytes).to_owned()
}

/// An option that takes a value, and the value if it is in the same word.
fn split(text: &str) -> Option<(&'static str, Option<&str>)> {
    let exact = VALUES.iter().find(|name| **name == text).map(|name| (*name, None));
    let long = || {
        let (name, value) = text.split_once('=').filter(|_| text.starts_with("--"))?;
        VALUES.iter().find(|known| **known == name).map(|known| (*known, Some(value)))
    };
    let short = || {
        let name = text.get(..2).filter(|_| !text.starts_with("--") && text.len() > 2)?;
        VALUES.iter().find(|known| **known == name).map(|known| (*known, text.get(2..)))
    };
    exact.or_else(long).or_else(short)
}

fn is_index(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// `0,2-3`, `all`, `!n`, `+n`: what they mean depends on the node, that they are lists does not.
fn numa(text: &str) -> Option<String> {
    let list = text.strip_prefix('!').unwrap_or(text);
    let list = list.strip_prefix('+').unwrap_or(list);
    let number = |text: &str| is_index(text);
    let valid = list == "all"
        || list
            .split(',')
            .all(|part| part.split_once('-').map_or(number(part), |(from, to)| number(from) && number(to)));
    valid.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Usage> {
        Options::parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn options_end_at_the_program() {
        let options = parse("-n 4 -t2 --mpol-no-heap -M 1m 3 ls -l -n x").unwrap();
        assert_eq!((options.processes, options.threads, options.node.as_deref()), (4, Some(2), Some("3")));
        assert_eq!(options.launch.mpol_threshold, 1 << 20);
        assert_eq!(options.launch.flags, LaunchFlags::MPOL_NO_HEAP);
        assert_eq!(
            (options.program, options.args),
            ("ls".into(), ["-l", "-n", "x"].map(OsString::from).to_vec())
        );
    }

    #[test]
    fn values() {
        let options =
            parse("-s 4m,1g -h 2M -m 0,2-3 -e A=b=c --root=/x --ro --deny=net -O --core=off p").unwrap();
        assert_eq!((options.launch.stack.premap, options.launch.stack.most), (4 << 20, Some(1 << 30)));
        assert_eq!((options.launch.heap_step, options.launch.numa.as_str()), (2 << 20, "0,2-3"));
        assert_eq!(options.variables, [("A".into(), "b=c".into())]);
        assert_eq!(
            (options.root.clone(), options.read_only, options.deny_net),
            (Some("/x".into()), true, true)
        );
        assert!(
            options
                .launch
                .flags
                .contains(LaunchFlags::OVERSUBSCRIBE | LaunchFlags::NO_CORE | LaunchFlags::READ_ONLY)
        );
        assert_eq!(options.core_pattern(), None);
        assert_eq!(parse("--trace=/x p").unwrap().trace, Some("/x".into()));
        let both = ["--trace p", "--trace=/x p"].map(|line| parse(line).unwrap().launch.flags);
        assert_eq!(both, [LaunchFlags::TRACE; 2]);
        assert_eq!(parse("-m !+0,1 p").unwrap().launch.numa, "!+0,1");
        assert_eq!(parse("-s ,8m p").unwrap().launch.stack.most, Some(8 << 20));
        assert_eq!(parse("p").unwrap().core_pattern().as_deref(), Some("core.%p"));
    }

    #[test]
    fn mistakes() {
        assert_eq!(parse("-n 0 p"), Err(Usage::Processes));
        assert_eq!(parse("-n x p"), Err(Usage::Processes));
        assert_eq!(parse("--help"), Err(Usage::Help));
        for line in [
            "",
            "7",
            "--what p",
            "-m x p",
            "-m 1- p",
            "-m +!1 p",
            "-s x p",
            "-e =x p",
            "--net=both p",
            "-M",
            "-z p",
            "--deny=all p",
            "--trace= p",
        ] {
            assert!(matches!(parse(line), Err(Usage::Wrong(_))), "{line}");
        }
    }
}
