//! Qnet: options, lines for the shell, messages to the process manager.

use super::Seed;
use keelson_qnet_wire::proc::{
    FdInfo, Inheritance, ProcWait, RemoteBlock, Spawn, SpawnFlags, Strings, SysConf,
};
use keelson_qnet_wire::{Endian, Nd};

fn texts(list: &[(&'static str, &str)]) -> Vec<Seed> {
    list.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect()
}

/// Options of Qnet, and command lines.
pub fn options() -> Vec<Seed> {
    texts(&[
        (
            "all",
            "auto_add=5,conn_est_retries=0,conn_est_timeout=3,conn_up_idle=10,periodic_ticks=10,tx_ticks=2,tx_retries=12,\
             do_crc=1,enforce_crc=1,eager_reverse=0,mtu=1500,max_msg=131072,max_tx_bufs=10,mapany=100,maproot=99,\
             dup_policy=rename,host=karl,release=6.4.1,mount=/net.lab.test\n",
        ),
        (
            "binds",
            "bind=en0,bind=en1\nbind=ip,resolve=dns\nbind=ip,resolve=file:/etc/hosts\nbind=ip\nbind=ip,bind=en0\nresolve=dns\n",
        ),
        (
            "limits",
            "mtu=575\nmtu=65536\nmax_msg=1\nperiodic_ticks=0\nperiodic_ticks=1001\nauto_add=-1\nauto_add=99999999999\n",
        ),
        ("ignored", "whatever,auto_add=5,x=y,,=,=z,auto_add=6\nno_slog=1,vtag\n"),
        (
            "mounts",
            "mount=/net:lab.test\nmount=lab.test:/net\nmount=/\nmount=net\nmount=/a.b:/c\nmount=\nhost=a.b\nhost=\nrelease=x y\n",
        ),
        (
            "lines",
            "hostname=karl domain=lab.test qnet.options=auto_add=5,bind=en0 qnet.echo\nhostname=k@rl\nqnet.start=off\n",
        ),
    ])
}

/// What people type.
pub fn lines() -> Vec<Seed> {
    texts(&[
        (
            "pipes",
            "echo a b c | cat | grep b > /public/x\ncat /public/x >> /public/a\nls -l /public | grep a | cat -\n",
        ),
        (
            "lists",
            "true && echo yes || echo no; false && echo no || echo yes\nfalse; echo $?\n: ; : && pwd\n",
        ),
        ("quotes", "echo 'a  b' \"c \\\" d\" e\\ f # g\necho a'b'\"c\"\\d ''\necho 'open\necho \\\n"),
        ("globs", "echo /b*/l? /public/[a-c] /[!x]*/* /*/no* [\nls /proc/[0-9]*\necho '*' \\*\n"),
        (
            "files",
            "cd /public\nmkdir -p d/e; echo x > d/e/f\ncp -r d g; mv g h; rm -r d\nls -a . h/e; rmdir h; cd ..; pwd\n",
        ),
        (
            "background",
            "sleep 100 &\nsleep 0.1 & sleep 1 & wait\npidin; pidin arg; slay sleep\necho x | sleep 50 &\n",
        ),
        (
            "forbidden",
            "cat /precious\ncp /precious /public/p\nrm -f /precious\nchmod 666 /precious\necho x > /precious\nmv /precious /public/q\n",
        ),
        (
            "descriptors",
            "ls /nowhere 2> /public/e\nls /nowhere > /public/o 2>&1\ncat < /public/a 1>&2\necho x >&7\ncat <\n",
        ),
        (
            "scripts",
            "echo 'echo one; exit 3' > /public/s\nsh /public/s\nsh -c 'echo two | cat; exit 4'\nchmod 755 /public/s; /public/s\n",
        ),
        (
            "itself",
            "echo 'sh /public/r' > /public/r; sh /public/r\ncat /public/a >> /public/a\nexit 7\necho never\n",
        ),
        (
            "machine",
            "date; uname -a; hostname karl; hostname; pidin info; pidin mem; nicinfo; mount; use ls; less /public/a\n",
        ),
    ])
}

/// A spawn, as `on` sends it.
fn spawn(args: &[&str], root: &str, fds: &[FdInfo]) -> Vec<u8> {
    let strings: Vec<u8> = args.iter().flat_map(|arg| arg.bytes().chain([0])).collect();
    let (argv, _) = Strings::split(&strings, args.len()).expect("arguments");
    let (envp, _) = Strings::split(b"HOME=/\0", 1).expect("an environment");
    let inherit = Inheritance { flags: SpawnFlags::SEARCH_PATH, ..Inheritance::default() };
    let mut spawn = Spawn::new(inherit, args[0].as_bytes(), argv, envp);
    spawn.search = b"/nowhere:/bin";
    let mut remote = RemoteBlock::new(0, 0o22, root.as_bytes(), b"/public", fds);
    remote.fds_all_in = true;
    spawn.remote = Some(remote);
    let mut message = vec![0; 4096];
    let len = spawn.emit(&mut message, Endian::Little).expect("room");
    message.truncate(len);
    message
}

/// The console that the target offers: of process 1, its second channel, with the channel for its token.
fn descriptors() -> [FdInfo; 3] {
    [0, 1, 2].map(|fd| FdInfo { fd, nd: Nd::LOCAL, srcnd: Nd::LOCAL, pid: 1, chid: 2, scoid: 2, coid: fd })
}

fn wait(id: i32) -> Vec<u8> {
    ProcWait { idtype: ProcWait::PID, options: ProcWait::EXITED, id }.encode(Endian::Little).to_vec()
}

/// Messages of somebody (0) or root (1).
fn story(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (who, message) in messages {
        bytes.push(*who);
        bytes.extend((message.len() as u16).to_be_bytes());
        bytes.extend(message);
    }
    bytes
}

/// Messages to the process manager.
pub fn messages() -> Vec<Seed> {
    let fds = descriptors();
    let conf = |name, value| SysConf { cmd: SysConf::STRING, name, value }.encode(Endian::Little).to_vec();
    // `_PROC_GETSETID`, of whoever asks.
    let ids = vec![0x13, 0, 0, 0, 0, 0, 0, 0];
    let precious = spawn(&["cat", "/precious"], "/", &fds);
    vec![
        ("on", story(&[(0, spawn(&["echo", "hello"], "/", &fds)), (0, wait(4)), (0, wait(5))])),
        (
            "sleeper",
            story(&[(0, spawn(&["sleep", "100"], "/", &[])), (0, wait(4)), (0, ids.clone()), (0, wait(1))]),
        ),
        (
            "shell",
            story(&[
                (0, spawn(&["sh", "-c", "ls -l / | cat > o; cat o; sleep 9 &"], "/", &fds)),
                (0, wait(4)),
            ]),
        ),
        (
            "forbidden",
            story(&[(0, precious), (0, spawn(&["cp", "/precious", "/public/p"], "/", &fds)), (0, wait(4))]),
        ),
        ("root", story(&[(1, spawn(&["cat", "/precious"], "/", &fds)), (0, wait(4)), (1, wait(4))])),
        ("roots", story(&[(0, spawn(&["true"], "/net/alpha/", &[])), (0, spawn(&["true"], "/etc", &[]))])),
        (
            "strings",
            story(&[(0, conf(2, 100)), (0, conf(3, 3)), (0, conf(201, -1)), (0, conf(99, 9)), (0, ids)]),
        ),
        (
            "fds",
            story(&[(
                0,
                spawn(&["true"], "/", &[FdInfo { pid: 999, ..fds[0] }, FdInfo { fd: -1, ..fds[1] }]),
            )]),
        ),
        (
            "short",
            story(&[(0, spawn(&["true"], "/", &fds)[..60].to_vec()), (1, vec![0x10, 0]), (0, Vec::new())]),
        ),
    ]
}
