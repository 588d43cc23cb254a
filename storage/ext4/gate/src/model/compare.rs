//! The first difference between what should be and what is.

use super::{Body, Object, Tree, shown};
use crate::backend::Abilities;
use keelson_volume::{Attributes, FileType};
use std::collections::BTreeSet;

/// What counts.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Generations of inodes.
    pub generations: bool,
    /// Times.
    pub times: bool,
    /// Owners, device numbers.
    pub all_attributes: bool,
    /// Bytes allocated. They change when data is written back.
    pub allocated: bool,
    /// Extended attributes.
    pub xattrs: bool,
    /// Content of files.
    pub content: bool,
    /// Objects that are not compared (but must be there, or not).
    pub exempt: BTreeSet<u64>,
}

impl Rules {
    /// Everything that both sides can tell, `allocated` excepted.
    pub fn between(one: Abilities, other: Abilities) -> Rules {
        let both = |of: fn(&Abilities) -> bool| of(&one) && of(&other);
        Rules {
            generations: both(|abilities| abilities.generations),
            times: both(|abilities| abilities.all_attributes),
            all_attributes: both(|abilities| abilities.all_attributes),
            allocated: false,
            xattrs: both(|abilities| abilities.xattrs),
            content: true,
            exempt: BTreeSet::new(),
        }
    }

    /// The same, and the bytes allocated.
    pub fn with_allocated(mut self) -> Rules {
        self.allocated = true;
        self
    }

    /// The same, but for the content of files.
    pub fn without_content(mut self) -> Rules {
        self.content = false;
        self
    }
}

/// The first difference; `None` when there is none.
pub fn difference(expected: &Tree, found: &Tree, rules: &Rules) -> Option<String> {
    if expected.root != found.root {
        return Some(format!("the root is inode {}, not {}", found.root, expected.root));
    }
    // Names first: they say more than inode numbers.
    for (inode, object) in &expected.objects {
        let Some(there) = found.objects.get(inode).filter(|_| !rules.exempt.contains(inode)) else {
            continue;
        };
        if let (Body::Directory { names, .. }, Body::Directory { names: have, .. }) =
            (&object.body, &there.body)
        {
            let path = expected.path(*inode);
            if let Some(name) = names.keys().find(|name| !have.contains_key(*name)) {
                return Some(format!("{path}: {} is missing", shown(name)));
            }
            if let Some(name) = have.keys().find(|name| !names.contains_key(*name)) {
                return Some(format!("{path}: {} should not be there", shown(name)));
            }
            if let Some((name, named)) = names.iter().find(|(name, named)| have[*name] != **named) {
                return Some(format!("{path}: {} names {}, not {named}", shown(name), have[name]));
            }
        }
    }
    for (inode, object) in &expected.objects {
        if rules.exempt.contains(inode) {
            continue;
        }
        let Some(there) = found.objects.get(inode) else {
            return Some(format!("{}: not there", expected.path(*inode)));
        };
        if let Some(what) = object_difference(object, there, rules) {
            return Some(format!("{}: {what}", expected.path(*inode)));
        }
    }
    if !rules.exempt.is_empty() {
        // What is new may be what was made there.
        return None;
    }
    let extra = found.objects.keys().find(|inode| !expected.objects.contains_key(inode))?;
    Some(format!("{}: should not be there", found.path(*extra)))
}

fn object_difference(expected: &Object, found: &Object, rules: &Rules) -> Option<String> {
    if let Some(what) = attribute_difference(&expected.attributes, &found.attributes, rules) {
        return Some(what);
    }
    if rules.xattrs && expected.xattrs != found.xattrs {
        let names = |object: &Object| {
            let all = object.xattrs.iter().map(|(name, value)| format!("{}:{}", shown(name), value.len()));
            all.collect::<Vec<_>>().join(" ")
        };
        return Some(format!("xattrs are [{}], not [{}]", names(found), names(expected)));
    }
    match (&expected.body, &found.body) {
        (Body::File(want), Body::File(have)) if rules.content => content_difference(want, have),
        (Body::Symlink(want), Body::Symlink(have)) if want != have => {
            Some(format!("its target is {}, not {}", shown(have), shown(want)))
        }
        (Body::Directory { parent: want, .. }, Body::Directory { parent: have, .. }) if want != have => {
            Some(format!("its parent is {have}, not {want}"))
        }
        _ => None,
    }
}

/// Where two contents differ first.
pub fn content_difference(want: &[u8], have: &[u8]) -> Option<String> {
    if want == have {
        return None;
    }
    let place = want.iter().zip(have).position(|(want, have)| want != have);
    let place = place.unwrap_or(want.len().min(have.len()));
    Some(format!(
        "content differs from byte {place} on: {:?}, not {:?} ({} and {} bytes)",
        have.get(place),
        want.get(place),
        have.len(),
        want.len()
    ))
}

fn attribute_difference(want: &Attributes, have: &Attributes, rules: &Rules) -> Option<String> {
    let is_dir = want.file_type == FileType::Directory;
    let checks: [(bool, &str, String, String); 12] = [
        (true, "type", format!("{:?}", want.file_type), format!("{:?}", have.file_type)),
        (true, "mode", format!("{:o}", want.mode), format!("{:o}", have.mode)),
        (true, "links", want.links.to_string(), have.links.to_string()),
        (!is_dir || rules.all_attributes, "size", want.size.to_string(), have.size.to_string()),
        (rules.all_attributes, "uid", want.uid.to_string(), have.uid.to_string()),
        (rules.all_attributes, "gid", want.gid.to_string(), have.gid.to_string()),
        (rules.all_attributes, "device", format!("{:?}", want.device), format!("{:?}", have.device)),
        (rules.times, "mtime", format!("{:?}", want.mtime), format!("{:?}", have.mtime)),
        (rules.times, "ctime", format!("{:?}", want.ctime), format!("{:?}", have.ctime)),
        // Looking changes it, now and then.
        (
            rules.times && have.atime < want.atime,
            "atime",
            format!("{:?}", want.atime),
            format!("{:?}", have.atime),
        ),
        (rules.generations, "id", format!("{:?}", want.id), format!("{:?}", have.id)),
        (rules.allocated, "allocated bytes", want.allocated.to_string(), have.allocated.to_string()),
    ];
    let wrong = checks.into_iter().find(|(counts, _, want, have)| *counts && want != have);
    wrong.map(|(_, what, want, have)| format!("{what} is {have}, not {want}"))
}
