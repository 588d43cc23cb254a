//! What a host's launch becomes.

use super::*;
use crate::files::Cwd;
use crate::loading::HostLoader;
use crate::options::Settings;
use crate::service::Service;
use crate::session::{Changes, Host as Remote, Hub, Session};
use keelson_hal::user::PageSize;
use keelson_lwk_wire::messages::Launch;

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

#[test]
fn programs_of_a_node_share_their_trees() {
    let world = World::new(2);
    let hub = Arc::new(Hub {
        system: world.node.system.clone(),
        tickets: Arc::default(),
        changes: Changes::default(),
        calls: Default::default(),
    });
    let settings = Settings {
        service: vec![0],
        compute: vec![1, 2],
        memory: None,
        delegation: true,
        port: 1,
        oversubscribe: 1,
        time_sharing: true,
        idle: Default::default(),
        helpers: 0,
        page_sizes: vec![PageSize::Large, PageSize::Small],
        thp: true,
        prefault: Default::default(),
        fork_cow: true,
        checks: Default::default(),
        dump_level: keelson_lwk_wire::dump::Level::Kernel,
        insecure: false,
        call_vector: None,
        log_size: 0,
        turbo: false,
        attribute_cache: true,
    };
    let service = Service::new(
        world.node.clone(),
        hub.clone(),
        HostLoader::new(None, 0, 832),
        settings,
        super::control::Machine::control(&world),
        keelson_exec::sim::SimClock::new(),
    );
    let request = |pid| {
        let host = Remote::new(Arc::new(Session::default()), hub.clone());
        service.request(launch(pid), &host).expect("a request")
    };
    let (one, other) = (request(1000), request(1001));
    assert_eq!((one.files.limit(), one.files.fs().cwd()), (64, Cwd::Host(b"/home/user".to_vec())));
    assert!(Arc::ptr_eq(one.files.vfs(), other.files.vfs()));
    let view = one.files.vfs().view().expect("the node is shown");
    assert_eq!((view.cpus().len(), view.facts().large_pages), (2, vec![2 << 20]));
}
