//! `bench`: latency of `_IO_STAT`, throughput of reads and writes, one request at a time (section 27).

use crate::failure::Failure;
use crate::json::Object;
use crate::session::Session;
use keelson_qnet::client::{File, OpenFlags};
use keelson_qnet_wire::io::ioflag;
use std::time::Duration;

/// Sizes of reads and writes.
const SIZES: [usize; 3] = [1 << 10, 8 << 10, 64 << 10];
/// Size of a file that is written and read.
const FILE: u64 = 16 << 20;
/// Longest time for one size.
const LONGEST: Duration = Duration::from_secs(10);

/// Measures a node. Without a file, what is read is `/dev/zero`, and what is written goes to `/dev/null`.
pub async fn bench(session: &Session, node: &str, file: Option<String>, count: u32) -> Result<(), Failure> {
    session.node(node).await?;
    let source = file.clone().unwrap_or_else(|| format!("/net/{node}/dev/zero"));
    let target = file.clone().unwrap_or_else(|| format!("/net/{node}/dev/null"));
    let flags = OpenFlags::WRITE.with(if file.is_some() { ioflag::CREAT } else { 0 });
    let files = session.files();
    let to = files.open_mode(&target, flags, 0o644).await.map_err(Failure::remote(&*target))?;
    latency(session, &to, &target, count).await?;
    for size in SIZES {
        transfer(session, &to, (&target, "write"), size, count).await?;
    }
    let from = files.open(&source, OpenFlags::READ).await.map_err(Failure::remote(&*source))?;
    for size in SIZES {
        transfer(session, &from, (&source, "read"), size, count).await?;
    }
    for (file, path) in [(to, target), (from, source)] {
        file.close().await.map_err(Failure::remote(path))?;
    }
    Ok(())
}

async fn latency(session: &Session, file: &File, path: &str, count: u32) -> Result<(), Failure> {
    let handle = session.host.handle();
    let mut times = Vec::new();
    for _ in 0..count {
        let start = handle.now();
        file.stat().await.map_err(Failure::remote(path))?;
        times.push((handle.now() - start).as_nanos() as f64 / 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let [min, median, p99] = [0, 50, 99].map(|percent| percentile(&times, percent));
    let text = || format!("stat          min {min:>8.1} us  median {median:>8.1} us  p99 {p99:>8.1} us");
    let object = || {
        let object = Object::new().text("operation", "stat").number("count", count);
        object.float("min_us", min).float("median_us", median).float("p99_us", p99)
    };
    session.print(text, object).await
}

/// A value below which so many percent of the sorted values are.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or_default()
}

async fn transfer(
    session: &Session,
    file: &File,
    (path, operation): (&str, &str),
    size: usize,
    count: u32,
) -> Result<(), Failure> {
    let handle = session.host.handle();
    let mut buffer = vec![0x5a; size];
    let (start, mut bytes, mut done) = (handle.now(), 0u64, 0);
    while done < count && handle.now() - start < LONGEST {
        // Stays within a file of a reasonable size.
        let offset = bytes % FILE;
        let result = match operation {
            "read" => file.read_at(offset, &mut buffer).await,
            _ => file.write_at(offset, &buffer).await,
        };
        let len = result.map_err(Failure::remote(path))?;
        if len == 0 {
            break;
        }
        bytes += len as u64;
        done += 1;
    }
    let seconds = (handle.now() - start).as_secs_f64();
    let rate = bytes as f64 / seconds.max(1e-9) / 1e6;
    let kib = size >> 10;
    let text = || format!("{operation:<6}{kib:>3} KiB  {rate:>9.2} MB/s  ({done} requests)");
    let object = || {
        let object = Object::new().text("operation", operation).number("size", size as u64);
        object.number("count", done).number("bytes", bytes).float("seconds", seconds).float("mb_per_s", rate)
    };
    session.print(text, object).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!([0, 50, 99].map(|percent| percentile(&values, percent)), [0.0, 50.0, 99.0]);
        assert_eq!((percentile(&[7.0], 99), percentile(&[], 50)), (7.0, 0.0));
    }
}
