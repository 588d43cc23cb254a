//! placeholder
use alloc::vec::Vec;
use core::net::IpAddr;
#[derive(Default)]
pub(crate) struct Names {
    pub servers: Vec<IpAddr>,
    pub hostname: alloc::string::String,
}
impl crate::Stack {
    pub fn add_nameserver(&self, s: IpAddr) {
        self.shared.state.borrow_mut().names.servers.push(s)
    }
    pub fn set_hostname(&self, s: &str) {
        self.shared.state.borrow_mut().names.hostname = s.into()
    }
}
