//! `lwk-mpi-env`: variables for MPI and OpenMP jobs whose ranks are on LWK nodes (section 7).

use std::ffi::OsString;

/// For `eval` in a shell. What is set already stays.
const LINES: &str = "\
# MPI on LWK nodes:  eval \"$(lwkctl lwk-mpi-env)\"
# MPICH over UCX: nodes share no memory with each other, nor with this host. Between ranks of one node `sm` may be added.
export UCX_TLS=\"${UCX_TLS:-tcp,self}\"
# Open MPI: its daemon keeps what ranks must know in shared memory here; they ask it by messages instead.
export PMIX_MCA_gds=\"${PMIX_MCA_gds:-hash}\"
# OpenMP: one thread for each core, where it is.
export OMP_PROC_BIND=\"${OMP_PROC_BIND:-close}\"
export OMP_PLACES=\"${OMP_PLACES:-cores}\"
export OMP_WAIT_POLICY=\"${OMP_WAIT_POLICY:-active}\"";

/// Prints them.
pub fn run(args: Vec<OsString>) -> i32 {
    if !args.is_empty() {
        eprintln!("usage: eval \"$(lwkctl lwk-mpi-env)\"");
        return 2;
    }
    println!("{LINES}");
    0
}
