//! The grammar and the matching.

use super::*;
use crate::names::NoNames;
use alloc::string::ToString;
use keelson_exec::Executor;
use keelson_exec::sim::SimClock;
use proptest::prelude::*;

fn problems(text: &str) -> Vec<String> {
    parse_exports(text).1.iter().map(ToString::to_string).collect()
}

fn one(text: &str) -> Export {
    let (mut exports, problems) = parse_exports(text);
    assert_eq!(problems, []);
    assert_eq!(exports.len(), 1);
    exports.remove(0)
}

#[test]
fn lines_of_all_kinds_parse() {
    let text = "# comment\n\n/srv//data/ 10.0.0.0/8(rw,no_root_squash) *(ro) # end\n\
                \"/with blank\" host.example(async,anonuid=1,anongid=-2)\n/a\\040b \\\n  10.1.1.1(insecure)\n/all";
    let (exports, problems) = parse_exports(text);
    assert_eq!(problems, []);
    let paths: Vec<_> = exports.iter().map(|export| &export.path[..]).collect();
    assert_eq!(paths, ["/srv/data", "/with blank", "/a b", "/all"]);
    assert!(exports[0].clients[0].options.writable && !exports[0].clients[1].options.writable);
    assert_eq!(exports[0].clients[0].options.squash, Squash::Nobody);
    let options = exports[1].clients[0].options;
    assert_eq!((options.sync, options.anon_uid, options.anon_gid), (false, 1, u32::MAX - 1));
    assert!(!exports[2].clients[0].options.secure);
    assert_eq!(exports[3].clients[0].spec, ClientSpec::Anyone);
}

#[test]
fn semicolons_end_lines_and_defaults_apply() {
    let (exports, problems) = parse_exports("/a -rw,insecure h1 h2(ro);/b *(rw)");
    assert_eq!(problems, []);
    assert_eq!(exports.len(), 2);
    let rights: Vec<_> = exports[0].clients.iter().map(|c| (c.options.writable, c.options.secure)).collect();
    assert_eq!(rights, [(true, false), (false, false)]);
}

#[test]
fn a_bad_line_is_left_out_and_named() {
    let text = "/a *(rw,no_such)\n/b *(rw)\nrelative *(rw)\n/c 10.0.0.0/33\n/d *(sec=krb5)\n/e host(rw\n/b *";
    let (exports, _) = parse_exports(text);
    assert_eq!(exports.len(), 1);
    let problems = problems(text);
    assert_eq!(problems[0], "exports line 1: unknown option 'no_such' (line left out)");
    assert!(problems[1].contains("'relative' is no absolute path"), "{problems:?}");
    assert!(problems[2].starts_with("exports line 4: client '10.0.0.0/33' is no network"));
    assert!(problems[3].contains("sec=krb5"));
    assert!(problems[4].contains("closing parenthesis"));
    assert!(problems[5].contains("/b is exported twice"));
}

#[test]
fn mistakes_that_are_legal_are_warned_of() {
    assert!(problems("/a host (rw)")[0].contains("blank before '(rw)'"));
    assert!(problems("/a *(subtree_check)")[0].contains("not enforced"));
    assert!(problems("/a @group(rw)")[0].contains("netgroups"));
    assert!(problems("/a *(refer=x@y)")[0].contains("no effect"));
    assert!(problems("/a *(fsid=3);/b *(fsid=3)")[0].contains("fsid="));
}

#[test]
fn ids_do_not_depend_on_order() {
    let (forward, _) = parse_exports("/a;/b;/c *(fsid=7)");
    let (backward, _) = parse_exports("/c *(fsid=7);/b;/a");
    for export in &forward {
        assert_eq!(backward.iter().find(|other| other.path == export.path).map(|e| e.id), Some(export.id));
    }
    assert_eq!(forward[2].id, 7);
}

struct Dns;

impl Names for Dns {
    async fn reverse(&self, address: IpAddr) -> Option<String> {
        match address.to_string().as_str() {
            "10.0.0.1" => Some("ftp01.flying.com.cn".into()),
            "10.0.0.2" => Some("backup.ftp01.flying.com.cn".into()),
            "10.0.0.3" => Some("ftp02.flying.com.cn".into()),
            _ => None,
        }
    }

    async fn forward(&self, name: &str) -> Vec<IpAddr> {
        // 10.0.0.3 lies about its name.
        let address = match name {
            "ftp01.flying.com.cn" => "10.0.0.1",
            "backup.ftp01.flying.com.cn" => "10.0.0.2",
            "ftp02.flying.com.cn" => "10.9.9.9",
            _ => return Vec::new(),
        };
        alloc::vec![address.parse().expect("an address")]
    }
}

fn matched<N: Names>(text: &str, names: N, dots: WildcardDots, client: &str) -> Option<u32> {
    let clock = SimClock::new();
    let executor = Executor::new(clock.clone(), None);
    let hosts = HostTable::parse("10.0.0.77=table.flying.com.cn").expect("hosts");
    let exports = Exports::new(executor.handle(), alloc::vec![one(text)], Rc::new(names), hosts, dots);
    let client: IpAddr = client.parse().expect("an address");
    executor.block_on(&*clock, async move {
        let first = exports.options_for(&exports.list()[0], client).await;
        assert_eq!(exports.options_for(&exports.list()[0], client).await, first, "remembered");
        first.map(|options| options.anon_uid)
    })
}

#[test]
fn the_most_specific_class_wins() {
    let text = "/a *(anonuid=5) *.flying.com.cn(anonuid=3) 10.0.0.0/255.255.255.0(anonuid=2) \
                ftp01(anonuid=1) 10.0.0.2(anonuid=11) fd00::/16(anonuid=6)";
    let expect = |client, expected| {
        assert_eq!(matched(text, Dns, WildcardDots::Separate, client), Some(expected), "{client}");
    };
    expect("10.0.0.1", 1);
    expect("10.0.0.2", 11);
    expect("10.0.0.9", 2);
    expect("10.0.1.9", 5);
    expect("::ffff:10.0.0.9", 2);
    expect("fd00::1", 6);
    expect("fd01::1", 5);
}

#[test]
fn wildcards_need_a_name_that_leads_back() {
    let text = "/a *.flying.com.cn(anonuid=3)";
    let expect = |dots, client, expected| assert_eq!(matched(text, Dns, dots, client), expected, "{client}");
    expect(WildcardDots::Separate, "10.0.0.1", Some(3));
    expect(WildcardDots::Separate, "10.0.0.2", None);
    expect(WildcardDots::Match, "10.0.0.2", Some(3));
    expect(WildcardDots::Separate, "10.0.0.3", None);
    expect(WildcardDots::Separate, "10.0.0.77", Some(3));
    assert_eq!(matched(text, NoNames, WildcardDots::Separate, "10.0.0.1"), None);
}

#[test]
fn covering_exports_come_deepest_first() {
    let (list, _) = parse_exports("/;/a;/a/b;/ab");
    let executor = Executor::new(SimClock::new(), None);
    let exports =
        Exports::new(executor.handle(), list, Rc::new(NoNames), HostTable::default(), WildcardDots::Separate);
    let covering = |path| exports.covering(path).iter().map(|e| e.path.clone()).collect::<Vec<_>>();
    assert_eq!(covering("/a/b/c"), ["/a/b", "/a", "/"]);
    assert_eq!(covering("/ab"), ["/ab", "/"]);
    assert_eq!(covering("/"), ["/"]);
}

#[test]
fn paths_normalise() {
    assert_eq!(normalise("//a/./b//").as_deref(), Some("/a/b"));
    assert_eq!(normalise("/").as_deref(), Some("/"));
    assert_eq!(normalise("/a/../b"), None);
    assert_eq!(normalise("a"), None);
}

proptest! {
    #[test]
    fn any_text_parses_without_panic(text in "[ -~\n\\\\\"();#é]{0,80}") {
        let _ = parse_exports(&text);
        let _ = HostTable::parse(&text);
    }
}
