/* The end of a job. MPICH 4.0.2 over UCX deadlocks now and then in MPI_Finalize, on any Linux, when a connection is still being made:
 * a rank that is done with its own waits for the others and serves them no more. It is rarer when all pairs have met. */
#include <mpi.h>
#include <stdlib.h>

static void finish(void)
{
    int size, flag;

    MPI_Comm_size(MPI_COMM_WORLD, &size);
    char *out = calloc(size, 1), *in = calloc(size, 1);
    /* By count, not by time: on a busy machine a rank may see a second pass without having done anything. */
    for (int round = 0; round < 30; round++) {
        MPI_Alltoall(out, 1, MPI_CHAR, in, 1, MPI_CHAR, MPI_COMM_WORLD);
        for (int look = 0; look < 100; look++)
            MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
    }
    free(out);
    free(in);
    MPI_Finalize();
}
