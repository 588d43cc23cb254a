//! What CPUID tells of a processor (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).

use crate::pseudo::CpuView;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

mod names;

/// Most sub-leaves that are looked at: no processor has as many caches or levels.
const SUB_LEAVES: u32 = 16;

/// The instruction: EAX, EBX, ECX and EDX of a leaf and sub-leaf, zeros for leaves that there are not.
pub struct Cpuid<'a>(pub &'a dyn Fn(u32, u32) -> [u32; 4]);

/// How an APIC id is put together: where the number of each begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// Of the core: the bits below tell the threads of a core apart.
    pub core: u32,
    /// Of the die.
    pub die: u32,
    /// Of the package.
    pub package: u32,
}

/// A kind of cache, of which each processor has, or shares, one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cache {
    /// 1, 2, 3.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: &'static str,
    /// Bytes.
    pub size: u64,
    /// Bytes of a line.
    pub line: u32,
    /// Lines in a set.
    pub ways: u32,
    /// Sets.
    pub sets: u32,
    /// Processors whose APIC ids are alike from this bit on share one.
    pub shift: u32,
}

impl Cpuid<'_> {
    /// What all processors of the machine have in common; where this one lies is for others to say.
    pub fn describe(&self) -> CpuView {
        CpuView {
            vendor: self.vendor(),
            family: self.family(),
            model_name: self.model_name(),
            flags: self.flags().into(),
            address_bits: self.address_bits(),
            ..CpuView::default()
        }
    }

    fn leaf(&self, leaf: u32) -> [u32; 4] {
        (self.0)(leaf, 0)
    }

    fn vendor(&self) -> String {
        let [_, ebx, ecx, edx] = self.leaf(0);
        text(&[ebx, edx, ecx])
    }

    /// Family, model, stepping.
    fn family(&self) -> (u32, u32, u32) {
        let [eax, ..] = self.leaf(1);
        let (family, model) = (eax >> 8 & 0xf, eax >> 4 & 0xf);
        let wide = if family >= 6 { eax >> 16 & 0xf } else { 0 };
        let extended = if family == 0xf { eax >> 20 & 0xff } else { 0 };
        (family + extended, wide << 4 | model, eax & 0xf)
    }

    fn model_name(&self) -> String {
        let words: Vec<u32> = (0x8000_0002..=0x8000_0004).flat_map(|leaf| self.leaf(leaf)).collect();
        text(&words)
    }

    /// Physical and virtual; what every processor with 64 bits has, when it does not say.
    fn address_bits(&self) -> (u32, u32) {
        let [eax, ..] = self.leaf(0x8000_0008);
        if eax & 0xff == 0 { (36, 48) } else { (eax & 0xff, eax >> 8 & 0xff) }
    }

    /// Features by the names of /proc/cpuinfo, in its order.
    fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        for (leaf, sub, register, names) in names::WORDS {
            let [most, ..] = self.leaf(*leaf);
            // The first sub-leaf says how many there are, but in 0xd.
            let word = if *leaf == 7 && *sub > most { 0 } else { (self.0)(*leaf, *sub)[*register] };
            flags.extend(names.iter().filter(|(bit, _)| word >> bit & 1 != 0).map(|(_, n)| n.to_string()));
        }
        flags
    }

    /// The number of the processor that asks.
    pub fn apic(&self) -> u32 {
        let [_, ebx, _, edx] = self.leaf(0xb);
        if ebx & 0xffff != 0 { edx } else { self.leaf(1)[1] >> 24 }
    }

    /// How numbers of processors are put together.
    pub fn topology(&self) -> Topology {
        let found = [0x1f, 0xb].into_iter().find(|leaf| self.leaf(*leaf)[1] & 0xffff != 0);
        let Some(leaf) = found else { return self.old_topology() };
        let mut topology = Topology::default();
        for sub in 0..SUB_LEAVES {
            let [eax, _, ecx, _] = (self.0)(leaf, sub);
            let shift = eax & 0x1f;
            match ecx >> 8 & 0xff {
                0 => break,
                1 => topology = Topology { core: shift, die: shift, package: shift },
                // Cores, modules and tiles are below dies.
                2..=4 => (topology.die, topology.package) = (shift, shift),
                _ => topology.package = shift,
            }
        }
        topology
    }

    /// The same of processors that know counts only.
    fn old_topology(&self) -> Topology {
        const HTT: u32 = 1 << 28;
        let [_, ebx, _, edx] = self.leaf(1);
        if edx & HTT == 0 {
            return Topology::default();
        }
        let amd = self.leaf(0x8000_0008)[2];
        let cores = match self.leaf(4)[0] {
            0 => (amd & 0xff) + 1,
            eax => (eax >> 26) + 1,
        };
        let package = bits(ebx >> 16 & 0xff).max(bits(cores));
        Topology { core: package - bits(cores), die: package, package }
    }

    /// Caches from the first level on.
    pub fn caches(&self) -> Vec<Cache> {
        // Intel's leaf, and AMD's of the same form.
        let leaf = [4, 0x8000_001d].into_iter().find(|leaf| self.leaf(*leaf)[0] & 0x1f != 0);
        let Some(leaf) = leaf else { return Vec::new() };
        (0..SUB_LEAVES).map_while(|sub| cache((self.0)(leaf, sub))).collect()
    }
}

fn cache([eax, ebx, ecx, _]: [u32; 4]) -> Option<Cache> {
    let kind = match eax & 0x1f {
        1 => "Data",
        2 => "Instruction",
        3 => "Unified",
        _ => return None,
    };
    let (line, parts, ways) = ((ebx & 0xfff) + 1, (ebx >> 12 & 0x3ff) + 1, (ebx >> 22) + 1);
    let sets = ecx.saturating_add(1);
    // 12, 10, 10 and 32 bits.
    let size = u64::from(line) * u64::from(parts) * u64::from(ways) * u64::from(sets);
    Some(Cache { level: eax >> 5 & 7, kind, size, line, ways, sets, shift: bits((eax >> 14 & 0xfff) + 1) })
}

/// Bits that hold numbers below `count`.
fn bits(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

/// Characters in registers, up to the first zero.
fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).take_while(|byte| *byte != 0);
    let text: String =
        bytes.map(|byte| if byte.is_ascii_graphic() { char::from(byte) } else { ' ' }).collect();
    text.trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &[u8]) -> u32 {
        u32::from_le_bytes(text.try_into().unwrap())
    }

    /// A Xeon: family 6, model 0x8f, two threads a core, 64 processor numbers a package.
    fn xeon(leaf: u32, sub: u32) -> [u32; 4] {
        match (leaf, sub) {
            (0, _) => [0x20, word(b"Genu"), word(b"ntel"), word(b"ineI")],
            (1, _) => [0x000c_06f8, 9 << 24, 1 << 28 | 1, 1 << 28 | 1],
            (4, 0) => [0x0400_4121, 11 << 22 | 63, 63, 0],
            (4, 1) => [0x0400_4122, 7 << 22 | 63, 63, 0],
            (4, 2) => [0x0400_4143, 15 << 22 | 63, 2047, 0],
            (4, 3) => [0x040f_c163, 14 << 22 | 63, 0x1_bfff, 0],
            (7, 0) => [1, 1 << 5 | 1 << 16, 0, 0],
            (7, 1) => [1 << 5, 0, 0, 0],
            // Beyond what leaf 7 has: never to be shown.
            (7, _) => [u32::MAX; 4],
            (0xb, 0) => [1, 2, 0x100, 0x4b],
            (0xb, 1) => [6, 64, 0x201, 0x4b],
            (0x8000_0002, _) => [word(b"    "), word(b"Xeon"), word(b" Gol"), word(b"d\0\0\0")],
            (0x8000_0008, _) => [46 | 57 << 8, 0, 0, 0],
            _ => [0; 4],
        }
    }

    #[test]
    fn a_processor_is_described() {
        let cpu = Cpuid(&xeon).describe();
        assert_eq!((cpu.vendor.as_str(), cpu.model_name.as_str()), ("GenuineIntel", "Xeon Gold"));
        assert_eq!((cpu.family, cpu.address_bits), ((6, 0xcf, 8), (46, 57)));
        assert_eq!(*cpu.flags, ["fpu", "ht", "pni", "avx", "avx2", "avx512f", "avx512_bf16"]);
    }

    #[test]
    fn numbers_of_processors_are_taken_apart() {
        let cpuid = Cpuid(&xeon);
        assert_eq!(cpuid.apic(), 0x4b);
        assert_eq!(cpuid.topology(), Topology { core: 1, die: 6, package: 6 });
        // With dies: leaf 0x1f goes first.
        let dies = |leaf, sub| match (leaf, sub) {
            (0x1f, 0) => [1, 2, 0x100, 3],
            (0x1f, 1) => [4, 16, 0x201, 3],
            (0x1f, 2) => [6, 64, 0x502, 3],
            _ => xeon(leaf, sub),
        };
        assert_eq!(Cpuid(&dies).topology(), Topology { core: 1, die: 4, package: 6 });
        // Counts only: 8 numbers a package, 4 cores.
        let old = |leaf, sub| match (leaf, sub) {
            (1, _) => [0, 5 << 24 | 8 << 16, 0, 1 << 28],
            (4, 0) => [3 << 26 | 0x21, 0, 0, 0],
            _ => [0; 4],
        };
        assert_eq!(Cpuid(&old).apic(), 5);
        assert_eq!(Cpuid(&old).topology(), Topology { core: 1, die: 3, package: 3 });
        assert_eq!(Cpuid(&|_, _| [0; 4]).topology(), Topology::default());
    }

    #[test]
    fn caches_are_listed() {
        let caches = Cpuid(&xeon).caches();
        let short: Vec<_> = caches.iter().map(|c| (c.level, c.kind, c.size >> 10, c.shift)).collect();
        assert_eq!(
            short,
            [
                (1, "Data", 48, 1),
                (1, "Instruction", 32, 1),
                (2, "Unified", 2048, 1),
                (3, "Unified", 107_520, 6)
            ]
        );
        assert_eq!((caches[0].line, caches[0].ways, caches[0].sets), (64, 12, 64));
        let amd = |leaf, sub| match (leaf, sub) {
            (0x8000_001d, sub @ 0..=3) => xeon(4, sub),
            _ => [0; 4],
        };
        assert_eq!(Cpuid(&amd).caches(), caches);
        assert_eq!(Cpuid(&|_, _| [0; 4]).caches(), []);
    }
}
