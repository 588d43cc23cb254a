/* The end of a job. MPICH 4.0.2 over UCX deadlocks now and then in MPI_Finalize, on any Linux, when a connection is still being made:
 * a rank that is done with its own waits for the others and serves them no more. So all pairs meet, and have time to get acquainted. */
#include <mpi.h>
#include <stdlib.h>

static void finish(void)
{
    int size, flag;

    MPI_Comm_size(MPI_COMM_WORLD, &size);
    char *out = calloc(size, 1), *in = calloc(size, 1);
    MPI_Alltoall(out, 1, MPI_CHAR, in, 1, MPI_CHAR, MPI_COMM_WORLD);
    double until = MPI_Wtime() + 0.5;
    while (MPI_Wtime() < until)
        MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
    MPI_Barrier(MPI_COMM_WORLD);
    free(out);
    free(in);
    MPI_Finalize();
}
