//! Writes the part of the corpus that is made of real messages. Inputs that once showed a defect are kept beside them,
//! under names that begin with `found-`, and are not touched.

mod calls;
mod dumps;
mod programs;
mod qnet;
mod steps;
mod texts;
mod wires;

use std::fs;

/// An input and what it is called.
type Seed = (&'static str, Vec<u8>);

fn main() {
    write("rpc", wires::rpc());
    write("xdr", wires::xdr());
    write("lnet", wires::lnet());
    write("ext4", wires::ext4());
    write("nfs3", calls::nfs3());
    write("mount", calls::mount());
    write("nlm", calls::nlm());
    write("nsm", calls::nsm());
    write("rquota", calls::rquota());
    write("rpcbind", calls::rpcbind());
    write("exports", texts::exports());
    write("cmdline", texts::cmdline());
    write("qnet_wire", qnet::wire());
    write("qnet_l4", qnet::l4());
    write("qnet_kif", qnet::kif());
    write("qnet_io", qnet::io());
    write("qnet_names", qnet::names());
    write("qnet_options", programs::options());
    write("qnet_sh", programs::lines());
    write("qnet_procs", programs::messages());
    write("lwk_dump", dumps::dumps());
    write("sntp", wires::sntp());
    write("syslog", texts::syslog());
    write("http", texts::http());
    write("ssh", wires::ssh());
}

fn write(target: &str, seeds: Vec<Seed>) {
    let place = keelson_fuzz::corpus(target);
    fs::create_dir_all(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    for (name, bytes) in &seeds {
        let file = place.join(name);
        fs::write(&file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    println!(
        "{target}: {} inputs, {} bytes",
        seeds.len(),
        seeds.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    );
}
