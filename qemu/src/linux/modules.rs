//! Kernel modules: finding them, what they need, and the index that modprobe reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::elf::module_dependencies;
use crate::error::{Error, Result};

/// The modules of one kernel package.
pub struct Modules {
    /// Kernel version, the name of the folder in `lib/modules`.
    pub version: String,
    /// Module name (with `_`) to its file.
    files: BTreeMap<String, PathBuf>,
}

/// Modules to put into a guest.
pub struct Selection<'a> {
    from: &'a Modules,
    /// Names in an order in which they can be loaded, with what each needs directly.
    chosen: Vec<(String, Vec<String>)>,
}

impl Modules {
    /// Indexes the modules in an unpacked kernel package.
    pub fn of(package: &Path) -> Result<Modules> {
        let folder = package.join("lib/modules");
        let doing = format!("list kernel modules in {}", folder.display());
        let mut entries = fs::read_dir(&folder).map_err(Error::io(doing))?.flatten();
        let Some(first) = entries.next() else {
            return Err(Error::Missing {
                what: format!("a kernel in {}", package.display()),
                remedy: "remove target/guest to fetch it again".into(),
            });
        };
        let mut files = BTreeMap::new();
        index(&first.path(), &mut files);
        Ok(Modules { version: first.file_name().to_string_lossy().into_owned(), files })
    }

    /// The named modules and everything they need. A name without file is an error unless it is compiled in.
    pub fn select(&self, names: &[String], built_in: &str) -> Result<Selection<'_>> {
        let mut selection = Selection { from: self, chosen: Vec::new() };
        for name in names {
            selection.add(&name.replace('-', "_"), built_in)?;
        }
        Ok(selection)
    }
}

fn index(folder: &Path, files: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            index(&path, files);
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            files.insert(name.replace('-', "_"), path);
        }
    }
}

impl Selection<'_> {
    fn add(&mut self, name: &str, built_in: &str) -> Result<()> {
        if self.chosen.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        let Some(path) = self.from.files.get(name) else {
            let file = format!("/{name}.ko");
            return if built_in.replace('-', "_").contains(&file) {
                Ok(())
            } else {
                Err(Error::Missing {
                    what: format!("kernel module {name}"),
                    remedy: format!("kernel {} was built without it", self.from.version),
                })
            };
        };
        let file = fs::read(path).map_err(Error::io(format!("read {}", path.display())))?;
        let needs: Vec<String> = module_dependencies(&file).iter().map(|n| n.replace('-', "_")).collect();
        for need in &needs {
            self.add(need, built_in)?;
        }
        self.chosen.push((name.into(), needs));
        Ok(())
    }

    /// The files to install as `/lib/modules/VERSION/NAME.ko`.
    pub fn files(&self) -> impl Iterator<Item = (String, &Path)> {
        self.chosen.iter().map(|(name, _)| (format!("{name}.ko"), self.from.files[name].as_path()))
    }

    /// `modules.dep`: each file with all it needs, direct and indirect, the last to be loaded first.
    pub fn dependency_index(&self) -> String {
        let mut text = String::new();
        for (name, _) in &self.chosen {
            let mut all = Vec::new();
            self.all_needs(name, &mut all);
            let _ = write!(text, "{name}.ko:");
            for need in all.iter().rev() {
                let _ = write!(text, " {need}.ko");
            }
            text.push('\n');
        }
        text
    }

    /// Needs of `name` in load order.
    fn all_needs(&self, name: &str, all: &mut Vec<String>) {
        let needs = self.chosen.iter().find(|(known, _)| known == name).map(|(_, needs)| needs.as_slice());
        for need in needs.unwrap_or_default() {
            let chosen = self.chosen.iter().any(|(known, _)| known == need);
            if chosen && !all.contains(need) {
                self.all_needs(need, all);
                all.push(need.clone());
            }
        }
    }
}
