//! `lwk-mpi-env`: variables for MPI and OpenMP jobs whose ranks are on LWK nodes (section 7).

use std::ffi::OsString;

/// For `eval` in a shell. What is set already stays.
const LINES: &str = "\
# MPI on LWK nodes:  eval \"$(lwkctl lwk-mpi-env)\"
# MPICH over UCX: nodes share no memory with each other, nor with this host. Between ranks of one node `sm` may be added.
export UCX_TLS=\"${UCX_TLS:-tcp,self}\"
# MPICH before 4.2 with ch4:ucx (mpichversion) hangs in MPI_Finalize, on Linux too. What helps, once for all programs:
#   lwkctl lwk-mpi-env --mpich-finish >finish.c
#   mpicc -O2 -fPIC -c finish.c && gcc -shared -o mpich-finish.so finish.o
#   mpiexec -genv MCKERNEL_LD_PRELOAD $PWD/mpich-finish.so ...      (ranks on the host itself: LD_PRELOAD)
# UCX connects ranks by every interface that is up; jobs begin sooner with one: export UCX_NET_DEVICES=<name>
# Open MPI: its daemon keeps what ranks must know in shared memory here; they ask it by messages instead.
export PMIX_MCA_gds=\"${PMIX_MCA_gds:-hash}\"
# OpenMP: one thread for each core, where it is.
export OMP_PROC_BIND=\"${OMP_PROC_BIND:-close}\"
export OMP_PLACES=\"${OMP_PLACES:-cores}\"
export OMP_WAIT_POLICY=\"${OMP_WAIT_POLICY:-active}\"";

/// A library for ranks, in C: it must be compiled with the header of the MPICH that they use.
const MPICH_FINISH: &str = include_str!("mpich-finish.c");

/// Prints them, or the library.
pub fn run(args: Vec<OsString>) -> i32 {
    match args.as_slice() {
        [] => println!("{LINES}"),
        [word] if word == "--mpich-finish" => print!("{MPICH_FINISH}"),
        _ => {
            eprintln!("usage: eval \"$(lwkctl lwk-mpi-env)\"");
            eprintln!("   or: lwkctl lwk-mpi-env --mpich-finish >finish.c");
            return 2;
        }
    }
    0
}
