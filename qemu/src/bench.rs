//! The bench of one test: a scratch folder, its switches and machines, and what they said if the test fails.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::{env, fs, process, thread};

use crate::console::Console;
use crate::endpoint::{Address, Endpoint};
use crate::error::{Error, Result};
use crate::lan::Lan;
use crate::machine::MachineSpec;

/// Everything of one test. Create it first and drop it last.
///
/// When it is dropped by a panic it prints the console of every machine and keeps its folder with the captures;
/// otherwise the folder is removed (unless `KEELSON_KEEP` is set).
pub struct Bench(Arc<Inner>);

struct Inner {
    name: String,
    dir: PathBuf,
    consoles: Mutex<Vec<(String, Console)>>,
}

/// A reference to a bench that machines keep.
#[derive(Clone)]
pub(crate) struct BenchRef(Arc<Inner>);

impl Bench {
    /// Sets up a bench. The name is for people.
    ///
    /// # Panics
    /// If no scratch folder can be made: nothing can be tested then.
    pub fn new(name: &str) -> Bench {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Short, because paths of unix sockets may have 108 bytes only.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("keelson-{}-{count}", process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("create scratch folder {}: {e}", dir.display()));
        Bench(Arc::new(Inner { name: name.into(), dir, consoles: Mutex::default() }))
    }

    /// A new switch.
    pub fn lan(&self, name: &str) -> Result<Lan> {
        Lan::new(name, &self.0.dir)
    }

    /// Describes a machine; [`MachineSpec::start`] starts it.
    pub fn machine(&self, name: &str) -> MachineSpec {
        MachineSpec::new(BenchRef(self.0.clone()), name)
    }

    /// Puts a host of the test process itself on a switch, with addresses such as `"10.0.0.2/24"`.
    pub fn endpoint(&self, lan: &Lan, name: &str, addresses: &[&str]) -> Result<Endpoint> {
        let parse = |text: &&str| {
            text.parse::<Address>().map_err(|()| Error::Missing {
                what: format!("an address and prefix length in \"{text}\""),
                remedy: "write it like 10.0.0.2/24 or fd00::2/64".into(),
            })
        };
        let addresses = addresses.iter().map(parse).collect::<Result<Vec<_>>>()?;
        Endpoint::new(lan.port(name)?, &addresses)
    }

    /// The scratch folder: disks, sockets, captures.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }
}

impl BenchRef {
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The console of machine `name`; a machine started again goes on in the same transcript.
    pub fn console(&self, name: &str) -> Console {
        let mut consoles = self.0.consoles.lock().expect("consoles");
        if let Some((_, console)) = consoles.iter().find(|(known, _)| known == name) {
            return console.clone();
        }
        let console = Console::new(name);
        consoles.push((name.into(), console.clone()));
        console
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !thread::panicking() {
            if env::var_os("KEELSON_KEEP").is_none() {
                let _ = fs::remove_dir_all(&self.0.dir);
            }
            return;
        }
        for (name, console) in self.0.consoles.lock().iter().flat_map(|consoles| consoles.iter()) {
            eprintln!("---- console of {name} ----\n{}", console.transcript());
        }
        eprintln!("---- files of the failed test {:?} ----", self.0.name);
        for entry in fs::read_dir(&self.0.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|kind| kind != "sock") {
                eprintln!("{}", path.display());
            }
        }
    }
}
