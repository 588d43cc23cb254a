//! What a host's launch becomes.

use super::*;
use crate::files::Cwd;
use crate::loading::HostLoader;
use crate::options::Settings;
use crate::service::Service;
use crate::session::{Changes, Host as Remote, Hub, Session};
use keelson_hal::user::PageSize;
use keelson_lwk_wire::messages::{Launch, LaunchAck, LaunchFlags, StackOptions};

fn launch(pid: u32) -> Launch {
    Launch {
        executable: 1,
        path: b"/bin/true".to_vec(),
        argv: vec![b"true".to_vec()],
        envp: vec![],
        cwd: b"/home/./user/".to_vec(),
        pid,
        ppid: 1,
        pgid: pid,
        sid: 1,
        uids: [0; 3],
        gids: [0; 3],
        groups: vec![],
        rlimits: [(64, 64); 16],
        umask: 0o22,
        blocked: 0,
        ignored: 0,
        rank: Default::default(),
        helpers: None,
        wall: 0,
        entropy: [0; 32],
        fds: vec![],
        options: Default::default(),
    }
}

fn settings() -> Settings {
    Settings {
        service: vec![0],
        compute: vec![1, 2],
        memory: None,
        delegation: true,
        listen: Default::default(),
        oversubscribe: 1,
        time_sharing: true,
        idle: Default::default(),
        helpers: 0,
        page_sizes: vec![PageSize::Large, PageSize::Small],
        thp: true,
        prefault: Default::default(),
        fork_cow: true,
        shm: Default::default(),
        checks: Default::default(),
        dump_level: keelson_lwk_wire::dump::Level::Kernel,
        insecure: false,
        crc: false,
        call_vector: None,
        log_size: 0,
        turbo: false,
        attribute_cache: true,
    }
}

#[test]
fn programs_of_a_node_share_their_trees() {
    let world = World::new(2);
    let hub = Arc::new(Hub {
        system: world.node.system.clone(),
        tickets: Arc::default(),
        changes: Changes::default(),
        calls: Default::default(),
    });
    let service = Service::new(
        world.node.clone(),
        hub.clone(),
        HostLoader::new(None, 0, 832),
        settings(),
        super::control::Machine::control(&world),
        keelson_exec::sim::SimClock::new(),
    );
    let request = |pid| {
        let host = Remote::new(Arc::new(Session::default()), hub.clone());
        service.request(launch(pid), &host).expect("a request")
    };
    let mut large = launch(1002);
    large.options.stack.most = Some(1 << 30);
    let host = Remote::new(Arc::new(Session::default()), hub.clone());
    let limits = service.request(large, &host).expect("a request").limits;
    assert_eq!(limits.0[crate::limits::STACK], crate::limits::Limit::both(1 << 30));
    let (one, other) = (request(1000), request(1001));
    assert_eq!((one.files.limit(), one.files.fs().cwd()), (64, Cwd::Host(b"/home/user".to_vec())));
    assert!(Arc::ptr_eq(one.files.vfs(), other.files.vfs()));
    let view = one.files.vfs().view().expect("the node is shown");
    assert_eq!((view.cpu_count(), view.facts().large_pages), (2, vec![2 << 20]));
}

/// What was asked for and cannot be done is refused in words that name the option.
#[test]
fn no_option_is_left_out_in_silence() {
    let why = |oversubscribe, change: &dyn Fn(&mut Launch)| {
        let mut launch = launch(1000);
        launch.uids = [1000; 3];
        change(&mut launch);
        let settings = Settings { oversubscribe, ..settings() };
        crate::service::refusals::impossible(&settings, &launch).map(|ack| match ack {
            LaunchAck::Refused { error: Errno::EINVAL, text } => text,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(why(1, &|_| ()), None);
    let flag = |flag| move |launch: &mut Launch| launch.options.flags = flag;
    let says = |text: Option<String>, start: &str| text.is_some_and(|text| text.starts_with(start));
    assert!(says(why(1, &flag(LaunchFlags::OVERSUBSCRIBE)), "-O: "));
    assert_eq!(why(2, &flag(LaunchFlags::OVERSUBSCRIBE)), None);
    assert_eq!(why(1, &|launch| launch.options.core = Some(1)), None);
    let there_is_none = why(1, &|launch| launch.options.core = Some(2));
    assert_eq!(there_is_none.as_deref(), Some("-c 2: processors for programs are 0 to 1 here"));
    let stack = |most, uid| {
        why(1, &|launch: &mut Launch| {
            launch.uids = [uid; 3];
            launch.options.stack = StackOptions { premap: 0, most: Some(most) };
        })
    };
    assert_eq!((stack(64, 1000), stack(65, 0)), (None, None));
    assert!(says(stack(65, 1000), "-s: a stack of 65 bytes is above the hard limit"));
}
