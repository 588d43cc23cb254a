//! Dumps of a node's kernel (section 6.6): files, and what is in them.
//!
//! A file "mckdump v2" is an ELF core file: a debugger reads it with the symbols of the kernel's image and without any help. Its
//! segments are memory where the kernel saw it, its notes the registers of the cores and what the node said of itself (`notes`). It
//! has the sections of McKernel's dumps as well.
//!
//! ```text
//!   elf       the format           notes     what is said besides memory
//!   memory    physical memory      tables    page tables         space    addresses of kernel and programs
//!   writer    makes a file         file      reads one           qemu     reads one of QEMU's
//!   live      a node's memory      view      for people
//! ```
//!
//! Principles:
//!
//! 1. **A dump is evidence of something that went wrong**: nothing in it is trusted, no number in it reserves memory unchecked.
//! 2. **Nobody but its owner reads it** (section 10, (h)): it is made with mode 0600, and never over another file.
//! 3. **Half a dump is none**: it is removed.

pub mod elf;
pub mod file;
pub mod live;
pub mod memory;
pub mod notes;
pub mod qemu;
pub mod space;
pub mod tables;
pub mod view;
pub mod writer;
