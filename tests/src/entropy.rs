//! Random numbers of the host.

use std::fs::File;
use std::io::Read;

use keelson_hal::Entropy;

/// The kernel's.
pub struct HostEntropy(File);

impl HostEntropy {
    /// # Panics
    ///
    /// When there is no `/dev/urandom`.
    pub fn new() -> HostEntropy {
        HostEntropy(File::open("/dev/urandom").unwrap())
    }
}

impl Entropy for HostEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        (&self.0).read_exact(bytes).unwrap();
    }
}
