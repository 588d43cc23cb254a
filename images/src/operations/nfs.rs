//! What the NFS server counts, as metrics.

use keelson_ext4::{CacheCounters, Ext4Volume};
use keelson_nfs_server::{Counters, Names, NfsServer, PROCEDURE_NAMES};
use keelson_ops::metrics::{Exposition, Kind, Value};

/// Name behind the prefix, meaning, value.
type Row<'a> = (&'a str, &'a str, u64);

fn counters(to: &mut Exposition, prefix: &str, rows: &[Row<'_>]) {
    for (name, help, value) in rows {
        to.counter(format_args!("keelson_{prefix}_{name}_total"), help, *value);
    }
}

fn by_label(to: &mut Exposition, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
    let mut family = to.family(name, Kind::Counter, help);
    for (value, count) in values {
        family.sample(&[(label, value)], *count);
    }
}

/// Writes what server and volume count.
pub fn collect<N: Names>(volume: &Ext4Volume, server: &NfsServer<Ext4Volume, N>, to: &mut Exposition) {
    let counted = server.counters();
    calls(to, &counted);
    refusals(to, &counted);
    locks(to, &counted, server.is_in_grace());
    filesystem(to, volume);
    data(to, &volume.cache_counters());
}

fn calls(to: &mut Exposition, c: &Counters) {
    let mut family = to.family("keelson_nfs_calls_total", Kind::Counter, "Calls of NFS, by procedure.");
    // NULL is answered before it comes to NFS.
    for (procedure, calls) in PROCEDURE_NAMES.iter().zip(&c.nfs.calls).skip(1) {
        family.sample(&[("procedure", procedure)], calls.get());
    }
    counters(
        to,
        "nfs",
        &[
            ("failed", "Calls of NFS answered with another status than OK.", c.nfs.failed.get()),
            ("bad_handles", "Calls of NFS with handles that were not made here.", c.nfs.bad_handles.get()),
            ("over_quota", "Calls of NFS answered with DQUOT.", c.nfs.over_quota.get()),
            ("read_bytes", "Bytes that clients read.", c.nfs.bytes_read.get()),
            ("written_bytes", "Bytes that clients wrote.", c.nfs.bytes_written.get()),
        ],
    );
    let cache = &c.reply_cache;
    by_label(
        to,
        "keelson_nfs_reply_cache_total",
        "Calls that must not be executed twice, by what the reply cache did, in the words of nfsstat(8).",
        "result",
        &[
            ("hit", cache.hits.get()),
            ("miss", cache.misses.get()),
            ("nocache", cache.nocache.get()),
            ("dropped", cache.dropped.get()),
        ],
    );
    counters(
        to,
        "rpc",
        &[
            ("calls", "Calls of all programs.", c.rpc.calls.get()),
            (
                "refused",
                "Calls refused: unknown program, version or procedure, bad arguments or credential.",
                c.rpc.refused.get(),
            ),
            ("malformed", "Messages that are no proper calls.", c.rpc.malformed.get()),
            ("too_long", "Records announced longer than allowed.", c.rpc.too_long.get()),
            ("datagrams", "Datagrams received.", c.rpc.datagrams.get()),
            ("accepted", "Connections of clients accepted.", c.rpc.accepted.get()),
            (
                "workers_denied",
                "Times a connection had to make do with the workers it had.",
                c.rpc.workers_denied.get(),
            ),
        ],
    );
    by_label(
        to,
        "keelson_rpc_cut_total",
        "Connections of clients that were cut or not taken, by reason.",
        "reason",
        &[
            ("full", c.rpc.turned_away.get()),
            ("idle", c.rpc.idle_closed.get()),
            ("stalled", c.rpc.stalled.get()),
            ("broken", c.rpc.broken.get()),
        ],
    );
    to.gauge("keelson_rpc_connections", "Connections of clients.", c.connections);
    to.gauge("keelson_rpc_buffer_bytes", "Memory in large message buffers.", c.buffer_bytes);
}

fn refusals(to: &mut Exposition, c: &Counters) {
    by_label(
        to,
        "keelson_nfs_mounts_total",
        "Requests to mount, by result.",
        "result",
        &[("granted", c.mount.granted.get()), ("refused", c.mount.refused.get())],
    );
    by_label(
        to,
        "keelson_nfs_export_refusals_total",
        "Calls refused because of exports, by reason.",
        "reason",
        &[
            ("unmatched_host", c.exports.unmatched_hosts),
            ("illegal_port", c.exports.illegal_ports),
            ("read_only", c.exports.read_only),
            ("not_exported", c.exports.not_exported),
        ],
    );
    by_label(
        to,
        "keelson_nfs_quota_queries_total",
        "Questions about quotas (RQUOTA), by result.",
        "result",
        &[
            ("answered", c.rquota.answered.get()),
            ("no_quota", c.rquota.no_quota.get()),
            ("refused", c.rquota.refused.get()),
        ],
    );
}

fn locks(to: &mut Exposition, c: &Counters, grace: bool) {
    to.gauge("keelson_nfs_grace", "1 while only locks that were held before the restart are given.", grace);
    let gauges: [(&str, &str, usize); 7] = [
        ("locks", "Ranges of files that are locked.", c.locks.locks),
        ("lock_waiters", "Requests that wait for a lock.", c.locks.waiters),
        ("lock_grants", "Locks given to who waited, and not taken yet.", c.locks.grants),
        ("lock_clients", "Hosts with locks, or that had some.", c.locks.clients),
        ("lock_owners", "Owners of locks.", c.locks.owners),
        ("lock_files", "Files with locks, waiters or shares.", c.locks.files),
        ("lock_shares", "Share reservations.", c.locks.shares),
    ];
    for (name, help, value) in gauges {
        to.gauge(format_args!("keelson_nfs_{name}"), help, value);
    }
    let r = c.locks_refused;
    by_label(
        to,
        "keelson_nfs_locks_refused_total",
        "Requests that the table of locks refused: a conflict, a circle, or no room for what is named.",
        "reason",
        &[
            ("denied", r.denied),
            ("deadlock", r.deadlocks),
            ("locks", r.locks),
            ("waiters", r.waiters),
            ("grants", r.grants),
            ("clients", r.clients),
            ("owners", r.owners),
            ("shares", r.shares),
        ],
    );
    let n = &c.nlm;
    counters(to, "nlm", &[("requests", "Requests of lock managers, of all procedures.", n.requests.get())]);
    by_label(
        to,
        "keelson_nlm_results_total",
        "Requests of lock managers, by what became of them.",
        "result",
        &[
            ("granted", n.granted.get()),
            ("blocked", n.blocked.get()),
            ("denied", n.denied.get()),
            ("grace", n.grace.get()),
            ("refused", n.refused.get()),
            ("stale", n.stale.get()),
            ("not_remembered", n.not_remembered.get()),
            ("answer_lost", n.answers_lost.get()),
        ],
    );
    by_label(
        to,
        "keelson_nlm_callbacks_total",
        "Callbacks to lock managers that a lock is theirs, by what became of them.",
        "result",
        &[
            ("tried", n.callbacks.get()),
            ("failed", n.callbacks_failed.get()),
            ("accepted", n.accepted.get()),
            ("declined", n.declined.get()),
            ("withdrawn", n.withdrawn.get()),
            ("stray", n.stray_results.get()),
        ],
    );
    let s = &c.nsm;
    by_label(
        to,
        "keelson_nsm_notices_total",
        "Notices of restarts: of ours sent, hosts that answered or never did, and those of hosts.",
        "kind",
        &[
            ("sent", s.notices.get()),
            ("told", s.told.get()),
            ("given_up", s.given_up.get()),
            ("restart", s.restarts.get()),
            ("repeated", s.repeated.get()),
            ("ignored", s.ignored.get()),
            ("refused", s.refused.get()),
        ],
    );
    by_label(
        to,
        "keelson_nfs_peer_calls_total",
        "Calls to clients, of lock and status managers.",
        "kind",
        &[
            ("tried", c.peer_calls.calls.get()),
            ("failed", c.peer_calls.failed.get()),
            ("lookup", c.peer_calls.lookups.get()),
        ],
    );
}

fn filesystem(to: &mut Exposition, volume: &Ext4Volume) {
    let (space, c) = (volume.space(), volume.counters());
    let gauges: [(&str, &str, u64); 6] = [
        ("size_bytes", "Size of the filesystem.", space.total_bytes),
        ("free_bytes", "Free space of the filesystem.", space.free_bytes),
        ("available_bytes", "Free space that is not reserved for the superuser.", space.available_bytes),
        ("files", "Inodes of the filesystem.", space.total_inodes),
        ("files_free", "Free inodes of the filesystem.", space.free_inodes),
        ("orphans", "Inodes that are being freed, or cut, in steps.", c.orphans),
    ];
    for (name, help, value) in gauges {
        to.gauge(format_args!("keelson_volume_{name}"), help, value);
    }
    counters(
        to,
        "volume",
        &[
            ("commits", "Requests to make changes durable.", c.commits),
            ("transactions", "Transactions of the journal.", c.transactions),
            ("transaction_blocks", "Blocks in these.", c.transaction_blocks),
            (
                "checkpoint_blocks",
                "Blocks written home because the journal was crowded.",
                c.checkpoint_blocks,
            ),
            ("no_space", "Requests refused for lack of space.", c.no_space),
            ("over_limit", "Operations refused because of a quota.", c.over_limit),
            ("stale", "Handles refused because their object is gone.", c.stale),
            ("read_errors", "Metadata blocks that could not be read.", c.read_errors),
            ("damaged", "Things on the disk that cannot be true.", c.damaged),
            (
                "metadata_misses",
                "Operations that began anew for want of a metadata block.",
                c.metadata_misses,
            ),
        ],
    );
}

fn data(to: &mut Exposition, c: &CacheCounters) {
    by_label(
        to,
        "keelson_cache_reads_total",
        "Reads of file content, by whether all of it was in memory.",
        "result",
        &[("hit", c.data.hits), ("miss", c.data.misses)],
    );
    by_label(
        to,
        "keelson_cache_metadata_reads_total",
        "Metadata blocks looked up, by whether they were in memory.",
        "result",
        &[("hit", c.hits), ("miss", c.misses)],
    );
    counters(
        to,
        "cache",
        &[
            ("read_aheads", "Times something was read ahead.", c.data.read_aheads),
            ("read_ahead_bytes", "How much that was.", c.data.read_ahead_bytes),
            ("writes", "Writes of file content.", c.data.writes),
            ("written_bytes", "How much they were.", c.data.written_bytes),
            (
                "writes_held_up",
                "Writes that waited because too much was not on the disk yet.",
                c.data.held_up,
            ),
            ("write_back_runs", "Runs of blocks written back.", c.data.write_back_runs),
            ("write_back_bytes", "How much they were.", c.data.write_back_bytes),
            ("read_errors", "Reads of file content that failed.", c.data.read_errors),
            ("write_errors", "Times that file content was lost.", c.data.write_errors),
            ("dropped", "Pieces of file content that made way for others.", c.data.dropped),
        ],
    );
    let gauges: [(&str, &str, Value); 4] = [
        ("resident_bytes", "File content in memory.", c.data.resident_bytes.into()),
        ("unwritten_bytes", "File content that is not on the disk yet.", c.data.unwritten_bytes.into()),
        ("reserved_blocks", "Blocks promised to what is not on the disk yet.", c.data.reserved_blocks.into()),
        ("metadata_blocks", "Metadata blocks in memory.", c.metadata_blocks.into()),
    ];
    for (name, help, value) in gauges {
        to.gauge(format_args!("keelson_cache_{name}"), help, value);
    }
    by_label(
        to,
        "keelson_disk_requests_total",
        "Requests of the filesystem to its disk.",
        "kind",
        &[("read", c.reads), ("write", c.writes), ("flush", c.flushes)],
    );
    by_label(
        to,
        "keelson_disk_bytes_total",
        "Bytes that the filesystem read and wrote.",
        "kind",
        &[("read", c.read_bytes), ("write", c.write_bytes)],
    );
    to.counter("keelson_disk_errors_total", "Requests that the disk failed.", c.errors);
}
