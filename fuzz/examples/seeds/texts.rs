//! What administrators write.

use super::Seed;

fn texts<const N: usize>(texts: [(&'static str, &str); N]) -> Vec<Seed> {
    texts.map(|(name, text)| (name, text.as_bytes().to_vec())).to_vec()
}

pub fn exports() -> Vec<Seed> {
    let many = "/x a(rw) b(ro,anonuid=7) @c *.d\n".repeat(30);
    texts([
        ("many", &many),
        ("simple", "/ 10.0.0.0/8(rw,no_root_squash) *(ro)\n"),
        ("several", "/srv/a host(rw) host.example.org(ro);/srv/b @staff(rw,async) *.example.org(ro)\n"),
        (
            "defaults",
            "/home -rw,insecure,anonuid=99,anongid=-2 10.0.0.0/255.255.255.0 fd00::/16(all_squash) client?\n",
        ),
        ("quoted", "\"/with blank\" *(ro)\n/with\\040octal \"h1\"(rw)\n"),
        ("continued", "# comment\n/a h1(rw) \\\n   h2(ro) # more\n\n/b *\n"),
        (
            "fsid",
            "/a *(fsid=0)\n/b *(fsid=17) h(fsid=17)\n/c *(fsid=0123456789abcdef0123456789abcdef)\n/d *(fsid=12345678-9abc-def0-1234-56789abcdef0)\n",
        ),
        ("quotas", "/q *(uquota=10G:100,gquota=1000=5k,uquota=7=-:5)\n/r *(gquota=1T)\n"),
        ("security", "/s *(sec=sys) h(sec=none:sys,nordirplus) 10.0.0.1(sec=none,secure)\n"),
        ("ignored", "/i *(rw,subtree_check,mp=/x,pnfs,crossmnt,no_wdelay,acl,hide)\n"),
        ("blank-before", "/a host (rw)\n"),
        ("wildcards", "/w [ab]*.x(rw) ?[!c-d]e.f *.*(ro) x[\n"),
        ("wrong", "/a *(rx)\nrelative *\n/b/../c *\n/d *(rw\n/e \"open\n/f \\9 *\n/a *\n/a *\n"),
        ("addresses", "/a ::ffff:10.0.0.2(rw) 0.0.0.0/0(ro) ::/0(ro) 10.0.0.0/33 fe80::1%1\n"),
        (
            "netgroup",
            "staff (client.example.org,,) ( Bob , - , ) \\\n (10.0.0.2,x,y) printers\nprinters (lp1,,)(lp2,,)\nloop loop (,,)\n",
        ),
        ("netgroup-wrong", "a (h,,\nb (h,)\nc (h,,) x$y\ne$ (h,,)\nf (h,,,)\n"),
        (
            "quota-file",
            "# limits\nuser * 1G 1000\nuser 5 2G\ngroup\t7 - 10\ngroup * 0 0\nuser 5 1M # twice\nuser x 1\n",
        ),
        ("hosts-file", "10.0.0.2 client.example.org client\n# x\nfd00::7 six\n10.0.0.9\nbad name\n"),
        ("hosts-option", "10.0.0.2=client,fd00::1=six, 10.0.0.3=other"),
        (
            "command-add",
            "exportfs -o rw,no_root_squash 10.0.0.0/8:/dir\nexportfs -v\nexportfs -u 10.0.0.0/8:/dir\nexportfs\n",
        ),
        (
            "command-reload",
            "exportfs store exports /dir *(rw)|/ro h(ro)\nexportfs show exports\nexportfs -rv\nexportfs -ua\nexportfs -r\n",
        ),
        (
            "command-disk",
            "exportfs -v\ndisk /dir @all(rw)~/none *\nexportfs -rv\nexportfs store netgroup all (h,,)\nexportfs -ra\n",
        ),
        (
            "command-quota",
            "exportfs store quota user 5 1G|group * - 7\nexportfs -r\nexportfs store hosts 10.0.0.2 x\nexportfs -r\nexportfs -o fsid=3 h:/dir\n",
        ),
        (
            "command-wrong",
            "exportfs -x\nexportfs -o rw /a\nexportfs -u nobody:/dir\nexportfs store passwd x\nexportfs -o rx *:/dir\nexportfs -o rw *:/a~b\n",
        ),
        ("disk-of-noise", "\u{0}\u{1}\u{fffd}/a *\n/b\u{7f} *\r\n"),
    ])
}

pub fn cmdline() -> Vec<Seed> {
    let many = "nfs.exports=\"/x 10.0.0.0/8(rw)\" ".repeat(30);
    texts([
        ("many", &many),
        ("nothing", ""),
        (
            "exports",
            "nfs.exports=\"/ 10.0.0.0/8(rw,no_root_squash) *(ro)\" nfs.exports=/a\0BOOT_IMAGE=/vmlinuz initrd=x",
        ),
        ("sizes", "nfs.rsize=64K nfs.buffers=0x1000000 nfs.connections=12 nfs.grace=0\0nfs.rsize=1M"),
        ("hosts", "nfs.hosts=10.0.0.5=mail nfs.wildcard_dots nfs.netgroups=\"staff (mail,,); all staff\""),
        ("net", "ip=10.0.0.1::10.0.0.254:255.255.255.0:host:eth0:off:1.1.1.1 net.mtu=9000"),
        ("dhcp", "ip=dhcp"),
        ("six", "ip=[fd00::1]::[fd00::ff]:64::eth0:none"),
        ("kinds", "wait=5s mode=two device=4K@0x10000:5 device=512@1M:3:7 file_name=x file-name=\"y z\""),
        ("flags", "nfs.simu_crash=off nfs.wildcard-dots=yes quiet splash"),
        (
            "bad",
            "nfs.exprot=/a nfs.rsize=1 nfs.port=70000 nfs.grace=-1 wait=9d mode=three device=1@2\0nfs.hosts=x",
        ),
        ("quotes", "a=\"b c \"d e\" f=\"\" =x \"\" -- nfs.port=1\0nfs.port=2049 \"open"),
        (
            "ports",
            "nfs.port=2049 nfs.mountd_port=20048 nfs.nlm_port=4045 nfs.statd_port=0x29 nfs.rquota_port=875",
        ),
        ("durations", "wait=10us\0wait=10ms wait=1m wait=60 wait=61 wait=99999999999999999999s"),
    ])
}

/// Facility and severity as characters, then lines; and messages as they stand in RFC 5424.
pub fn syslog() -> Vec<Seed> {
    let long = format!("\u{96}\u{3}node1\nnet\n{}", "long\u{fc}".repeat(300));
    texts([
        ("line", "\u{16}\u{6}node1\nlnet::router\ntcp1: up\n"),
        ("controls", "\u{10}\u{4}a b\u{7}\n\u{e9}\n\u{1b}[2J\tand \u{feff} more\n"),
        ("long", &long),
        ("empty", "00\n\n"),
        (
            "message",
            "<165>1 2003-10-11T22:14:15.003Z host app 1 ID47 [a@1 b=\"\\\"c\\]\"][meta sequenceId=\"1\"] \u{feff}text",
        ),
        ("nothing-known", "<34>1 - - - - - -"),
    ])
}

pub fn http() -> Vec<Seed> {
    let host = "Host: 10.0.0.1:9100\r\n";
    // In pieces of so many bytes.
    let in_pieces = |bytes: char, text: &str| format!("{bytes}{text}");
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(1100));
    let fields = "A: b\r\n".repeat(70);
    texts([
        (
            "curl",
            &in_pieces(
                '@',
                &format!("GET /metrics HTTP/1.1\r\n{host}User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"),
            ),
        ),
        (
            "prometheus",
            &in_pieces(
                '\x7f',
                &format!(
                    "GET /metrics HTTP/1.1\r\n{host}User-Agent: Prometheus/2.53.0\r\nAccept: text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n\
                 Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
                ),
            ),
        ),
        (
            "two",
            &in_pieces('\x01', &format!("GET /healthz HTTP/1.1\r\n{host}\r\n\r\nHEAD / HTTP/1.1\n{host}\n")),
        ),
        ("old", "\x05GET /version?x=1 HTTP/1.0\r\n\r\n"),
        (
            "absolute",
            &in_pieces(
                '\x09',
                &format!("GET http://node:9100/boot HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
            ),
        ),
        (
            "post",
            &in_pieces('\x03', &format!("POST /metrics HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\nabc")),
        ),
        (
            "chunked",
            &in_pieces(
                '\x03',
                &format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            ),
        ),
        ("folded", &in_pieces('\x07', &format!("GET / HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n"))),
        ("no-host", "\x02GET / HTTP/1.1\r\n\r\n"),
        ("two-hosts", &in_pieces('\x02', &format!("GET / HTTP/1.1\r\n{host}{host}\r\n"))),
        ("long-line", &in_pieces('\x40', &long)),
        ("many-fields", &in_pieces('\x40', &format!("GET / HTTP/1.1\r\n{fields}{host}\r\n"))),
        ("tls", "\x04\x16\x03\x01\x02\x00\x01\x00\x01\x7f"),
        ("later", &in_pieces('\x10', &format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{host}"))),
    ])
}
