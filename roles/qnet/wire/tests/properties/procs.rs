//! Spawning, and the system page.

use crate::layouts::any_layout;
use crate::{BOTH, emitted, text};
use keelson_qnet_wire::io::MsgType;
use keelson_qnet_wire::proc::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn strings(list: &[Vec<u8>]) -> Vec<u8> {
    list.iter().flat_map(|text| text.iter().copied().chain([0])).collect()
}

proptest! {
    #[test]
    fn spawns(
        inherit in any_layout!(Inheritance),
        fd_map in vec(any::<i32>(), 0..5),
        (search, path, root, cwd) in (text(0..50), text(0..50), text(0..20), text(0..20)),
        (args, vars) in (vec(text(0..10), 0..5), vec(text(0..10), 0..5)),
        (key, umask, fds, all_in) in (any::<u32>(), any::<u32>(), vec(any_layout!(FdInfo), 0..4), any::<bool>()),
        remote: bool,
    ) {
        let (argv, envp) = (strings(&args), strings(&vars));
        let (argv, _) = Strings::split(&argv, args.len()).unwrap();
        let (envp, _) = Strings::split(&envp, vars.len()).unwrap();
        let mut block = RemoteBlock::new(key, umask, &root, &cwd, &fds);
        block.fds_all_in = all_in;
        let mut spawn = Spawn::new(inherit, &path, argv, envp).with_fd_map(&fd_map);
        spawn.search = &search;
        spawn.remote = remote.then_some(block);
        for endian in BOTH {
            let bytes = emitted(|room| spawn.emit(room, endian));
            prop_assert_eq!(type_and_subtype(&bytes, endian), Ok((MsgType::PROC_SPAWN, spawn_subtype::START)));
            let decoded = Spawn::decode(&bytes, endian).unwrap();
            prop_assert_eq!(decoded, spawn);
            prop_assert_eq!(decoded.fd_map().collect::<Vec<_>>(), fd_map.clone());
            prop_assert_eq!(decoded.argv.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), args.clone());
            prop_assert_eq!(decoded.envp.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), vars.clone());
            if let Some(block) = decoded.remote {
                prop_assert_eq!(block.fds().collect::<Vec<_>>(), fds.clone());
            }
        }
    }

    #[test]
    fn descriptors(fds in vec(any_layout!(FdInfo), 0..10), more: bool, request in any_layout!(FdRequest)) {
        for endian in BOTH {
            let bytes = emitted(|room| emit_fd_reply(room, endian, more, &fds));
            let reply = FdReply::decode(&bytes, endian).unwrap();
            prop_assert_eq!((reply.more, reply.fds().collect::<Vec<_>>()), (more, fds.clone()));
            let bytes = request.encode(endian);
            prop_assert_eq!(type_and_subtype(&bytes, endian), Ok((MsgType::PROC_SPAWN, spawn_subtype::FD)));
            prop_assert_eq!(FdRequest::decode(&bytes, endian), Ok(request));
        }
    }

    #[test]
    fn waiting(wait in any_layout!(ProcWait), conf in any_layout!(SysConf)) {
        for endian in BOTH {
            let bytes = wait.encode(endian);
            prop_assert_eq!(type_and_subtype(&bytes, endian), Ok((MsgType::PROC_WAIT, wait.idtype as u16)));
            prop_assert_eq!(ProcWait::decode(&bytes, endian), Ok(wait));
            let bytes = conf.encode(endian);
            prop_assert_eq!(type_and_subtype(&bytes, endian), Ok((MsgType::SYS_CONF, 0)));
            prop_assert_eq!(SysConf::decode(&bytes, endian), Ok(conf));
        }
    }

    #[test]
    fn system_pages(
        cpus in vec((any::<[u32; 3]>(), text(0..20)), 0..10),
        ranges in vec(any::<(u64, u64)>(), 0..10),
        (machine, boot_time, cycles_per_sec) in any::<(u16, u32, u64)>(),
    ) {
        let cpus: Vec<_> = cpus.iter().map(|([cpu, speed_mhz, flags], name)| {
            CpuInfo { cpu: *cpu, speed_mhz: *speed_mhz, flags: *flags, name }
        }).collect();
        let memory: Vec<_> = ranges.into_iter().map(|(start, end)| Memory { start, end }).collect();
        let machine = MachineType(machine);
        let page = Syspage { machine, cpus: &cpus, memory: &memory, boot_time, cycles_per_sec };
        for endian in BOTH {
            let bytes = emitted(|room| page.emit(room, endian));
            let view = SyspageView::decode(&bytes, endian).unwrap();
            prop_assert_eq!((view.machine, usize::from(view.num_cpu)), (machine, cpus.len()));
            prop_assert_eq!((view.boot_time, view.cycles_per_sec), (boot_time, cycles_per_sec));
            prop_assert_eq!(view.cpus().collect::<Vec<_>>(), cpus.clone());
            prop_assert_eq!(view.memory().collect::<Vec<_>>(), memory.clone());
        }
    }
}
