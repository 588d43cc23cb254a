//! The grammar and the matching.

use super::*;
use crate::names::{HostTable, NoNames};
use alloc::format;
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
    assert_eq!(exports[0].clients[0].options.squash(), Squash::Nobody);
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
    assert!(problems("/a @(rw)")[0].contains("names no netgroup"));
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
    matched_in(None, text, names, dots, client)
}

fn matched_in<N: Names>(
    domain: Option<&str>,
    text: &str,
    names: N,
    dots: WildcardDots,
    client: &str,
) -> Option<u32> {
    let clock = SimClock::new();
    let executor = Executor::new(clock.clone(), None);
    let hosts = HostTable::parse("10.0.0.77=table.flying.com.cn,10.0.0.78=short").expect("hosts");
    let (netgroups, _) =
        Netgroups::parse("staff (ftp01.flying.com.cn,,) inner\ninner (10.0.0.50,,) (-,,)\nall (,,)");
    let table = Table::new(alloc::vec![one(text)], hosts, netgroups);
    let exports = Exports::new(executor.handle(), table, Rc::new(names), dots).in_domain(domain);
    let client: IpAddr = client.parse().expect("an address");
    executor.block_on(&*clock, async move {
        let export = exports.table().list()[0].clone();
        let first = exports.options_for(&export, client).await;
        assert_eq!(exports.options_for(&export, client).await, first, "remembered");
        first.map(|options| options.anon_uid)
    })
}

#[test]
fn the_most_specific_class_wins() {
    let text = "/a *(anonuid=5) *.flying.com.cn(anonuid=3) 10.0.0.0/255.255.255.0(anonuid=2) \
                ftp01(anonuid=1) 10.0.0.2(anonuid=11) fd00::/16(anonuid=6)";
    let expect = |client, expected| {
        let found = matched_in(Some("flying.com.cn"), text, Dns, WildcardDots::Separate, client);
        assert_eq!(found, Some(expected), "{client}");
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
fn a_host_is_whoever_its_name_leads_to() {
    let expect = |domain, text, client, expected| {
        let found = matched_in(domain, text, Dns, WildcardDots::Separate, client);
        assert_eq!(found.is_some(), expected, "{text} in {domain:?}: {client}");
    };
    let own = Some("flying.com.cn");
    expect(None, "/a ftp01.flying.com.cn", "10.0.0.1", true);
    expect(None, "/a FTP01.flying.com.cn", "10.0.0.1", true);
    // A name that only begins like it, in whatever domain.
    expect(None, "/a ftp01", "10.0.0.1", false);
    expect(Some("example.org"), "/a ftp01", "10.0.0.1", false);
    expect(own, "/a ftp01", "10.0.0.1", true);
    expect(own, "/a backup", "10.0.0.2", false);
    expect(own, "/a backup.ftp01", "10.0.0.2", false);
    // What a client calls itself counts only if it leads back; what has another address is not meant.
    expect(own, "/a ftp02", "10.0.0.3", false);
    expect(own, "/a ftp02", "10.9.9.9", true);
    // The table, which knows the short name or the full one.
    expect(None, "/a short", "10.0.0.78", true);
    expect(None, "/a table", "10.0.0.77", false);
    expect(own, "/a table", "10.0.0.77", true);
    expect(None, "/a table.flying.com.cn", "10.0.0.77", true);
    expect(None, "/a table.flying.com.cn", "10.0.0.1", false);
}

/// A host with two addresses, of which one has another name.
struct TwoAddresses;

impl Names for TwoAddresses {
    async fn reverse(&self, address: IpAddr) -> Option<String> {
        Some(if address.to_string() == "10.0.0.1" { "one.example.org" } else { "back.example.org" }.into())
    }

    async fn forward(&self, name: &str) -> Vec<IpAddr> {
        let addresses: &[&str] = match name {
            "one.example.org" => &["10.0.0.1", "10.0.0.2"],
            "back.example.org" => &["10.0.0.2"],
            // Told by DNS; the table knows better.
            "short" => &["10.0.0.1"],
            _ => &[],
        };
        addresses.iter().map(|address| address.parse().expect("an address")).collect()
    }
}

#[test]
fn every_address_of_a_name_is_meant_and_the_table_comes_before_dns() {
    let found = |text, client| matched(text, TwoAddresses, WildcardDots::Separate, client).is_some();
    assert!(found("/a one.example.org", "10.0.0.1"));
    assert!(found("/a one.example.org", "10.0.0.2"), "although it calls itself otherwise");
    assert!(!found("/a one.example.org", "10.0.0.3"));
    assert!(!found("/a back.example.org", "10.0.0.1"));
    assert!(found("/a short", "10.0.0.78"));
    assert!(!found("/a short", "10.0.0.1"));
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
fn netgroups_come_after_wildcards_and_before_everyone() {
    let text = "/a *(anonuid=5) @staff(anonuid=4) *.com.cn(anonuid=3) 10.0.0.77(anonuid=1)";
    let expect = |client, expected| {
        assert_eq!(matched(text, Dns, WildcardDots::Separate, client), Some(expected), "{client}");
    };
    expect("10.0.0.1", 4);
    expect("10.0.0.2", 5);
    expect("10.0.0.50", 4);
    expect("10.0.0.77", 1);
    assert_eq!(matched("/a @staff", NoNames, WildcardDots::Separate, "10.0.0.51"), None);
    assert_eq!(matched("/a @no_such_group", Dns, WildcardDots::Separate, "10.0.0.1"), None);
    assert_eq!(matched("/a @all(anonuid=2)", NoNames, WildcardDots::Separate, "fd00::9"), Some(2));
}

#[test]
fn who_is_in_an_unreadable_netgroup_is_not_let_in_as_anybody() {
    let mut unknown = Netgroups::default();
    unknown.is_unknown = true;
    let table =
        Table::new(alloc::vec![one("/a *(rw) @staff(ro) 10.0.0.0/24(ro)")], HostTable::default(), unknown);
    let clock = SimClock::new();
    let executor = Executor::new(clock.clone(), None);
    let exports = Exports::new(executor.handle(), table, Rc::new(NoNames), WildcardDots::Separate);
    executor.block_on(&*clock, async move {
        let export = exports.table().list()[0].clone();
        let options =
            async |client: &str| exports.options_for(&export, client.parse().expect("an address")).await;
        assert_eq!(options("10.0.0.9").await.map(|options| options.writable), Some(false));
        assert_eq!(options("10.0.1.9").await, None);
    });
}

/// Counts what it is asked, and knows nobody's name; one name has an address.
#[derive(Default)]
struct OneWay {
    reverse: Cell<u32>,
    forward: Cell<u32>,
}

impl Names for Rc<OneWay> {
    async fn reverse(&self, _address: IpAddr) -> Option<String> {
        self.reverse.set(self.reverse.get() + 1);
        None
    }

    async fn forward(&self, name: &str) -> Vec<IpAddr> {
        self.forward.set(self.forward.get() + 1);
        if name == "h1.example.org" {
            alloc::vec!["10.0.0.1".parse().expect("an address")]
        } else {
            Vec::new()
        }
    }
}

#[test]
fn a_host_without_reverse_name_is_known_by_the_name_of_the_line() {
    let names = Rc::new(OneWay::default());
    let text = "/a h0.example.org(anonuid=1) h1.example.org(anonuid=2) *.example.org(anonuid=3)";
    let asked = |client| matched(text, names.clone(), WildcardDots::Separate, client);
    assert_eq!(asked("10.0.0.1"), Some(2));
    assert_eq!(asked("10.0.0.2"), None);
}

#[test]
fn names_are_asked_for_only_where_they_decide() {
    let names = Rc::new(OneWay::default());
    let text = "/a *.example.org(anonuid=3) @staff(anonuid=4) 10.0.0.0/24(anonuid=1) *(anonuid=5)";
    assert_eq!(matched(text, names.clone(), WildcardDots::Separate, "10.0.0.1"), Some(1));
    assert_eq!(names.reverse.get(), 0, "the network came first");
    assert_eq!(matched(text, names.clone(), WildcardDots::Separate, "10.0.1.1"), Some(5));
    assert_eq!((names.reverse.get(), names.forward.get()), (1, 0));
    let many: String = (0..100).map(|at| format!(" h{}.example.com", at + 10)).collect();
    assert_eq!(matched(&("/a".to_string() + &many), names.clone(), WildcardDots::Separate, "10.0.1.1"), None);
    assert_eq!(names.forward.get() as usize, MAX_FORWARD, "a long line does not keep DNS busy");
}

#[test]
fn squashing_does_not_depend_on_the_order_of_options() {
    let squash = |list: &str| one(&format!("/a *({list})")).clients[0].options.squash();
    assert_eq!(squash("all_squash,no_root_squash"), Squash::All, "as on Linux");
    assert_eq!(squash("no_root_squash,all_squash"), Squash::All);
    assert_eq!(squash("no_root_squash,all_squash,no_all_squash"), Squash::Nobody);
    assert_eq!(squash("all_squash,root_squash,no_all_squash"), Squash::Root);
    assert_eq!(squash("no_root_squash,root_squash"), Squash::Root);
    let defaults = one("/a -all_squash h(no_root_squash) g");
    assert_eq!(
        defaults.clients.iter().map(|client| client.options.squash()).collect::<Vec<_>>(),
        [Squash::All; 2]
    );
    let defaults = one("/a -all_squash,no_root_squash h(no_all_squash) g");
    assert_eq!(defaults.clients[0].options.squash(), Squash::Nobody, "as on Linux");
}

#[test]
fn fsid_is_a_number_a_root_or_a_uuid() {
    let export = |fsid: &str| one(&format!("/a *(fsid={fsid})"));
    assert_eq!((export("root").fsid, export("0").fsid, export("7").id), (Some(0), Some(0), 7));
    let uuid = export("01234567-89ab-cdef-0000-000000000001");
    assert_eq!(uuid.fsid, Some(0x0123_4567_89ab_cdee));
    assert_eq!(uuid.id, export("0123456789ab:cdef:00000000:00000001").id);
    assert!(uuid.id >= 0x8000);
    assert!(problems("/a *(fsid=0123456789abcdef0123456789abcdeg)")[0].contains("no UUID"));
    assert!(problems("/a *(fsid)")[0].contains("needs a number"));
}

#[test]
fn quotas_are_the_line_s() {
    let export = one("/a -uquota=1G:10 h(gquota=5=2M) g(rw)");
    assert_eq!(export.quotas.len(), 2);
    assert_eq!(export.quotas[1].holder, Holder::Group(5));
    assert!(problems("/a *(uquota=x)")[0].contains("[ID=]BYTES[:INODES]"));
}

#[test]
fn every_option_of_linux_is_known() {
    let text = "/a *(rw,async,wdelay,no_wdelay,hide,nohide,crossmnt,no_subtree_check,no_acl,acl,auth_nlm,no_auth_nlm,\
                secure_locks,insecure_locks,insecure,nordirplus,sec=sys,all_squash,anonuid=1,anongid=2,fsid=3)";
    let options = one(text).clients[0].options;
    assert!(options.writable && !options.sync && !options.secure && !options.readdirplus);
    assert_eq!((options.anon_uid, options.anon_gid, options.fsid), (1, 2, Some(3)));
    let secure = one("/a *(async,sync,insecure,secure,rw,ro)").clients[0].options;
    assert_eq!(secure, ExportOptions::default());
    for odd in [
        "mp",
        "mountpoint=/x",
        "replicas=/a@b",
        "fsloc=x",
        "xprtsec=tls",
        "pnfs",
        "no_pnfs",
        "security_label",
    ] {
        assert!(problems(&format!("/a *({odd})"))[0].contains("not supported"), "{odd}");
    }
}

#[test]
fn what_is_no_text_is_left_out_and_the_rest_holds() {
    let binary: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    let text = String::from_utf8_lossy(&binary).into_owned() + "\n/a *(rw)\n/b\u{7} *\n/c\u{fffd} *(rw)";
    let (exports, problems) = parse_exports(&text);
    assert_eq!(exports.iter().map(|export| &export.path[..]).collect::<Vec<_>>(), ["/a"]);
    assert!(problems.iter().all(|problem| problem.message.len() < 500));
    assert!(problems.iter().any(|problem| problem.message == "not a line of text"));
}

#[test]
fn exports_are_bounded() {
    let text: String = (0..3000).map(|at| format!("/d{at} *(fsid={})\n", at + 1)).collect();
    let (exports, problems) = parse_exports(&text);
    assert_eq!((exports.len(), problems.len()), (1024, 3000 - 1024));
    assert!(problems[0].message.contains("more than 1024 exports"));
}

#[test]
fn another_table_keeps_numbers_and_drops_verdicts() {
    let clock = SimClock::new();
    let executor = Executor::new(clock.clone(), None);
    let table = |text: &str| Table::new(parse_exports(text).0, HostTable::default(), Netgroups::default());
    let exports =
        Exports::new(executor.handle(), table("/a;/b *(rw)"), Rc::new(NoNames), WildcardDots::Separate);
    executor.block_on(&*clock, async move {
        let client: IpAddr = "10.0.0.1".parse().expect("an address");
        let (a, b) = (exports.table().list()[0].clone(), exports.table().list()[1].clone());
        let root = FileId { inode: 2, discriminator: 7 };
        a.root.set(Some(root));
        assert_eq!(exports.options_for(&a, client).await.map(|options| options.writable), Some(false));
        exports.replace(table("/c;/a *(rw)"));
        let again = exports.by_id(a.id).expect("still exported");
        assert_eq!((&again.path[..], again.root.get()), ("/a", Some(root)));
        assert_eq!(exports.options_for(&again, client).await.map(|options| options.writable), Some(true));
        assert!(exports.by_id(b.id).is_none());
        exports.refuse_gone(b.id, client);
        exports.refuse_gone(b.id, client);
        assert_eq!(exports.counters().not_exported, 2);
    });
}

#[test]
fn covering_exports_come_deepest_first() {
    let (list, _) = parse_exports("/;/a;/a/b;/ab");
    let table = Table::new(list, HostTable::default(), Netgroups::default());
    let covering = |path| table.covering(path).iter().map(|e| e.path.clone()).collect::<Vec<_>>();
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
        let _ = parse_quotas(&text);
        let _ = HostTable::parse_file(&text);
        let _ = HostTable::parse(&text);
    }
}
