//! The command `nfsstat`: what nfsstat(8) shows of a server, in its layout, and then everything else that is counted.

use super::counted::counted;
use super::nfs::collect;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use keelson_ext4::Ext4Volume;
use keelson_nfs_server::{Counters, Names, NfsServer, PROCEDURE_NAMES};

/// Procedures in a line.
const COLUMNS: usize = 5;
/// Families that the tables show already.
const SHOWN: [&str; 2] = ["keelson_nfs_calls_total", "keelson_nfs_reply_cache_total"];

/// What server and volume counted.
pub fn nfsstat<N: Names>(volume: &Ext4Volume, server: &NfsServer<Ext4Volume, N>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = tables(&mut text, &server.counters());
    text += "\nAll the rest, by its name among the metrics (zeros left out):\n";
    text += &counted(&SHOWN, |to| collect(volume, server, to));
    text
}

fn tables(text: &mut String, c: &Counters) -> fmt::Result {
    let (refused, malformed) = (c.rpc.refused.get(), c.rpc.malformed.get());
    writeln!(text, "Server rpc stats:\n{:<11}{:<11}{:<11}", "calls", "badcalls", "badfmt")?;
    writeln!(text, "{:<11}{:<11}{:<11}\n", c.rpc.calls.get(), refused + malformed, malformed)?;
    let cache = &c.reply_cache;
    writeln!(text, "Server reply cache:\n{:<11}{:<11}{:<11}", "hits", "misses", "nocache")?;
    writeln!(text, "{:<11}{:<11}{:<11}\n", cache.hits.get(), cache.misses.get(), cache.nocache.get())?;
    writeln!(text, "Server nfs v3:")?;
    let calls = PROCEDURE_NAMES.iter().zip(&c.nfs.calls).map(|(name, calls)| (*name, calls.get()));
    procedures(text, &calls.collect::<Vec<_>>())
}

fn procedures(text: &mut String, all: &[(&str, u64)]) -> fmt::Result {
    let calls: u64 = all.iter().map(|(_, calls)| calls).sum();
    for row in all.chunks(COLUMNS) {
        row.iter().try_for_each(|(name, _)| write!(text, "{name:<17}"))?;
        text.push('\n');
        for (_, count) in row {
            let share = format!("{}%", count * 100 / calls.max(1));
            write!(text, "{count:<8} {share:<8}")?;
        }
        text.push('\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_columns_of_nfsstat() {
        let mut text = String::new();
        let calls =
            [("null", 0), ("getattr", 3), ("setattr", 0), ("lookup", 1), ("access", 0), ("readlink", 0)];
        procedures(&mut text, &calls).unwrap();
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        let wanted = [
            "null             getattr          setattr          lookup           access",
            "0        0%      3        75%     0        0%      1        25%     0        0%",
            "readlink",
            "0        0%",
        ];
        assert_eq!(lines, wanted);
    }
}
