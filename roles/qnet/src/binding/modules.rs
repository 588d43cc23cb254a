//! `mount` and `umount` of protocol and drivers, by the names that QNX has for them (section 20).

use super::nic::driver_object;
use super::{Binding, Nic};
use alloc::string::String;
use alloc::vec::Vec;
use keelson_qnet_wire::Errno;

/// The module that is Qnet.
const QNET: &str = "lsm-qnet.so";
/// Where drivers have their interfaces.
const INTERFACES: &str = "/dev/io-net/";

impl Binding {
    /// `mount -Tio-pkt [-o options] module`: Qnet, or the driver of interfaces that were unmounted. `ENOENT` for a module
    /// that there is not, `EBUSY` for one that has nothing left to do.
    pub fn load(&self, module: &str, options: &str) -> Result<(), Errno> {
        let module = module.rsplit('/').next().unwrap_or(module);
        if module == QNET {
            return self.mount(options);
        }
        let mut is_known = false;
        let mut waiting = Vec::new();
        for status in self.0.stack.interfaces().iter().filter(|status| driver_object(status.driver) == module)
        {
            is_known = true;
            let nics = self.0.nics.borrow();
            let unmounted = nics.iter().find(|nic| nic.id == status.id && nic.files.is_none());
            waiting.extend(unmounted.map(|nic| (nic.name.clone(), nic.id)));
        }
        if waiting.is_empty() {
            return Err(if is_known { Errno::EBUSY } else { Errno::ENOENT });
        }
        for (name, id) in waiting {
            self.0.stack.set_up(id, true).map_err(|_| Errno::ENXIO)?;
            self.bring_interface(&name);
            log::info!(target: "qnet", "{name}: {module} mounted");
        }
        Ok(())
    }

    /// `umount path`: an interface by its file, or Qnet by its directory, device or module.
    pub async fn unload(&self, path: &str) -> Result<(), Errno> {
        let net = self.0.node.config().mount.clone();
        let path = path.trim_end_matches('/');
        if path == net || path == "/dev/netmgr" || path.rsplit('/').next() == Some(QNET) {
            return self.umount().await;
        }
        let name = path.strip_prefix(INTERFACES).ok_or(Errno::ENOENT)?;
        let id = self.id_of(name).ok_or(Errno::ENOENT)?;
        if !self.take_interface(name) {
            return Err(Errno::ENOENT);
        }
        log::info!(target: "qnet", "{name}: unmounted");
        self.0.stack.set_up(id, false).map_err(|_| Errno::ENXIO)
    }

    /// Drivers in use, as `pidin mem` shows them.
    pub fn drivers(&self) -> Vec<String> {
        let nics = self.0.nics.borrow();
        let is_mounted = |nic: &&Nic| nic.files.is_some();
        let drivers = nics.iter().filter(is_mounted).filter_map(|nic| self.status(nic.id));
        let mut modules: Vec<String> = drivers.map(|status| driver_object(status.driver)).collect();
        modules.sort_unstable();
        modules.dedup();
        modules
    }
}
