/* MPI_Finalize of MPICH before 4.2 over UCX, made to end.
 *
 * There a rank first flushes its connections, for which every peer must still be at work in MPI, and then waits in the process
 * manager's barrier, where it is at work no more. Who comes to the flush late therefore waits for ever for those who were early.
 * MPICH 4.2 has the barrier in front and needs none of this.
 *
 * This stands in for MPI_Finalize by way of the profiling interface of MPI. All ranks exchange messages with all, on the connections
 * that everything else went by: what was sent before has then arrived. So there is nothing to flush, and MPICH is told that when
 * it asks UCX to disconnect. The barrier of the process manager, in which nobody needs anybody any more, is left to MPICH.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <mpi.h>
#include <stddef.h>

#ifndef MPICH_NUMVERSION
#error "this is for MPICH, and mpi.h is that of another MPI: compile with the mpicc of MPICH"
#elif MPICH_NUMVERSION >= 40200000
#error "MPI_Finalize of this MPICH (4.2 or later) ends by itself: launch without mpich-finish.so"
#endif

/* The first round makes connections; in the second, what was sent before has been taken from them; what is sent in the third
 * therefore leaves at once and needs nobody who looks after it. */
#define ROUNDS 3

static int finished;

static void exchange(MPI_Comm world, int rank, int size)
{
    char out = 0, in;

    for (int round = 0; round < ROUNDS; round++)
        for (int far = 1; far < size; far++)
            PMPI_Sendrecv(&out, 1, MPI_CHAR, (rank + far) % size, round, &in, 1, MPI_CHAR, (rank + size - far) % size, round,
                          world, MPI_STATUS_IGNORE);
}

/* UCX's function of this name, which MPICH calls in MPI_Finalize: no request, because it is done. */
void *ucp_disconnect_nb(void *endpoint)
{
    void *(*disconnect)(void *);

    if (finished)
        return NULL;
    *(void **)&disconnect = dlsym(RTLD_NEXT, "ucp_disconnect_nb");
    return disconnect ? disconnect(endpoint) : NULL;
}

int MPI_Finalize(void)
{
    int rank, size;
    MPI_Comm world;

    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    PMPI_Comm_size(MPI_COMM_WORLD, &size);
    /* The program may have left receives for any message. */
    PMPI_Comm_dup(MPI_COMM_WORLD, &world);
    exchange(world, rank, size);
    PMPI_Comm_free(&world);
    finished = 1;
    return PMPI_Finalize();
}
