/* MPI_Finalize of MPICH before 4.2 over UCX, made to end.
 *
 * There a rank first flushes its connections, for which every peer must still be at work in MPI, and then waits in the process
 * manager's barrier, where it is at work no more. Who comes to the flush late therefore waits for ever for those who were early.
 * MPICH 4.2 has the barrier in front and needs none of this.
 *
 * This stands in for MPI_Finalize by way of the profiling interface of MPI. First, all ranks exchange a message with all: every
 * rank must then wait for an answer of every other, and none can leave before the last has come. Second, they wait for each other
 * in the process manager's barrier, where MPI does nothing: when the first of them begins to flush, nobody is still to do anything
 * else, and a rank answers only after having asked itself. Where all ranks are reached by one network
 * device, UCX_MAX_EAGER_LANES=1 and UCX_MAX_RNDV_LANES=1 have both come over the same connection, and so in this order.
 */
#include <errno.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef MPICH_NUMVERSION
#error "this is for MPICH, and mpi.h is that of another MPI: compile with the mpicc of MPICH"
#elif MPICH_NUMVERSION >= 40200000
#error "MPI_Finalize of this MPICH (4.2 or later) ends by itself: launch without mpich-finish.so"
#endif

/* The first round makes connections; in the second, what was sent before has been taken from them; what is sent in the third
 * therefore leaves at once and needs nobody who looks after it. */
#define ROUNDS 3

static void exchange(MPI_Comm world, int rank, int size)
{
    char out = 0, in;

    for (int round = 0; round < ROUNDS; round++)
        for (int far = 1; far < size; far++)
            PMPI_Sendrecv(&out, 1, MPI_CHAR, (rank + far) % size, round, &in, 1, MPI_CHAR, (rank + size - far) % size, round,
                          world, MPI_STATUS_IGNORE);
}

/* The barrier of PMI 1, as Hydra speaks it: a line there, a line back. MPICH has nothing under way there now. */
static const char *barrier(int manager)
{
    static const char enter[] = "cmd=barrier_in\n", leave[] = "cmd=barrier_out";
    static char line[256];
    size_t done = 0;

    while (done < sizeof enter - 1) {
        ssize_t n = write(manager, enter + done, sizeof enter - 1 - done);
        if (n < 0 && errno != EINTR)
            return strerror(errno);
        done += n < 0 ? 0 : n;
    }
    for (done = 0; done < sizeof line - 1;) {
        /* Not a byte further than the line. */
        ssize_t n = read(manager, line + done, 1);
        if (n < 0 && errno != EINTR)
            return strerror(errno);
        if (n == 0)
            return "end of file";
        if (n == 1 && line[done++] == '\n')
            break;
    }
    line[done] = 0;
    return strncmp(line, leave, sizeof leave - 1) ? line : NULL;
}

int MPI_Finalize(void)
{
    int rank, size;

    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    PMPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size > 1) {
        const char *manager = getenv("PMI_FD"), *problem;
        MPI_Comm world;
        /* The program may have left receives for any message. */
        PMPI_Comm_dup(MPI_COMM_WORLD, &world);
        exchange(world, rank, size);
        PMPI_Comm_free(&world);
        problem = manager ? barrier(atoi(manager)) : "PMI_FD is not set";
        if (problem)
            fprintf(stderr,
                    "mpich-finish: no barrier of the process manager before MPI_Finalize (%s), which may therefore hang: "
                    "launch with mpiexec of MPICH, without -pmi-port\n",
                    problem);
    }
    return PMPI_Finalize();
}
