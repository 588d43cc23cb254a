//! Help for the administrator, made from the tables: plain text for the console, Markdown for the manual.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::spec::{Kind, OptionSpec};

/// Columns of the text.
const WIDTH: usize = 100;
/// Column of the explanation; an option too long for its column gets a line of its own.
const INDENT: usize = 28;

/// The options of all tables as text of at most 100 columns (unless a name is longer), grouped by owner.
pub fn help(tables: &[&[OptionSpec]]) -> String {
    let mut text = String::new();
    for (owner, options) in by_owner(tables) {
        text.push_str(owner);
        text.push('\n');
        for spec in options {
            let usage = usage(spec);
            let mut line = format!("  {usage}");
            if line.len() + 2 > INDENT {
                text.push_str(&line);
                text.push('\n');
                line.clear();
            }
            let explanation = explanation(spec);
            let mut fresh = true;
            for word in explanation.split(' ') {
                if !fresh && line.len() + 1 + word.len() > WIDTH {
                    text.push_str(&line);
                    text.push('\n');
                    line.clear();
                    fresh = true;
                }
                if fresh {
                    while line.len() < INDENT {
                        line.push(' ');
                    }
                } else {
                    line.push(' ');
                }
                line.push_str(word);
                fresh = false;
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// The options of all tables as Markdown, one table for each owner.
pub fn markdown(tables: &[&[OptionSpec]]) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut text = String::new();
    for (owner, options) in by_owner(tables) {
        text.push_str(&format!(
            "### {owner}\n\n| Option | Accepted | Default | Meaning |\n|---|---|---|---|\n"
        ));
        for spec in options {
            let default = spec.default.map_or(String::new(), |default| format!("`{}`", cell(default)));
            let repeatable = if spec.repeatable { " May be given several times." } else { "" };
            let usage = cell(&usage(spec));
            // A grammar of the owner's stands in the usage already.
            let accepted = match spec.kind {
                Kind::Custom { .. } => String::new(),
                kind => cell(&format!("{kind}")),
            };
            let meaning = cell(spec.help);
            text.push_str(&format!("| `{usage}` | {accepted} | {default} | {meaning}{repeatable} |\n"));
        }
        text.push('\n');
    }
    text
}

/// Owners in the order of their first option, each with its options in table order.
fn by_owner<'a>(tables: &[&'a [OptionSpec]]) -> Vec<(&'static str, Vec<&'a OptionSpec>)> {
    let mut groups: Vec<(&'static str, Vec<&OptionSpec>)> = Vec::new();
    for spec in tables.iter().copied().flatten() {
        match groups.iter_mut().find(|(owner, _)| *owner == spec.owner) {
            Some((_, options)) => options.push(spec),
            None => groups.push((spec.owner, alloc::vec![spec])),
        }
    }
    groups
}

fn usage(spec: &OptionSpec) -> String {
    match spec.kind {
        Kind::Flag => String::from(spec.name),
        kind => format!("{}={}", spec.name, kind.placeholder()),
    }
}

/// Help, then what the usage does not show already: limits, default, repetition.
fn explanation(spec: &OptionSpec) -> String {
    let mut facts: Vec<Cow<'_, str>> = Vec::new();
    if matches!(spec.kind, Kind::Integer { .. } | Kind::Size { .. } | Kind::Duration { .. }) {
        facts.push(format!("{}", spec.kind).into());
    }
    if let Some(default) = spec.default {
        facts.push(format!("default {default}").into());
    }
    if spec.repeatable {
        facts.push("may be given several times".into());
    }
    if facts.is_empty() { String::from(spec.help) } else { format!("{} [{}]", spec.help, facts.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[OptionSpec] = &[
        OptionSpec::new("quiet", Kind::Flag, "Say little.").owner("kernel"),
        OptionSpec::new(
            "nfs.threads",
            Kind::Integer { min: 1, max: 64 },
            "Requests that are served at once.",
        )
        .default("8")
        .owner("nfs-server"),
        OptionSpec::new("mode", Kind::Choice(&["fast", "safe"]), "How to do it.").owner("kernel"),
        OptionSpec::new("virtio_mmio.device", Kind::MmioDevice, "Announces a device.")
            .repeatable()
            .owner("kernel"),
    ];

    #[test]
    fn text_is_aligned_and_grouped() {
        let expected = "\
kernel
  quiet                     Say little.
  mode=fast|safe            How to do it.
  virtio_mmio.device=SIZE@BASE:IRQ[:ID]
                            Announces a device. [may be given several times]
nfs-server
  nfs.threads=N             Requests that are served at once. [an integer from 1 to 64; default 8]
";
        assert_eq!(help(&[OPTIONS]), expected);
    }

    #[test]
    fn long_paragraphs_are_wrapped() {
        let long = [OptionSpec::new(
            "a",
            Kind::Text,
            "word word word word word word word word word word word word word word word word word word end",
        )
        .owner("x")];
        let text = help(&[&long]);
        assert!(text.lines().all(|line| line.len() <= WIDTH) && text.lines().count() == 3, "{text}");
        assert!(text.ends_with(" end\n"));
    }

    #[test]
    fn markdown_escapes_bars() {
        let text = markdown(&[OPTIONS]);
        assert!(text.contains("| `mode=fast\\|safe` | one of fast, safe |  | How to do it. |"), "{text}");
        assert!(text.contains("| `nfs.threads=N` | an integer from 1 to 64 | `8` |"), "{text}");
    }
}
