/* A token goes round the ring of ranks, growing on its way; then messages of many sizes do. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 5
#define LARGEST (1 << 20)

int main(int argc, char **argv)
{
    int rank, size;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int next = (rank + 1) % size, last = (rank + size - 1) % size;
    long token = 1;

    for (int round = 0; round < ROUNDS; round++) {
        if (rank == 0) {
            MPI_Send(&token, 1, MPI_LONG, next, round, MPI_COMM_WORLD);
            MPI_Recv(&token, 1, MPI_LONG, last, round, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(&token, 1, MPI_LONG, last, round, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            token = token * 3 + rank;
            MPI_Send(&token, 1, MPI_LONG, next, round, MPI_COMM_WORLD);
        }
    }
    if (rank == 0)
        printf("token %ld after %d rounds of %d ranks\n", token, ROUNDS, size);

    unsigned char *out = malloc(LARGEST), *in = malloc(LARGEST);
    unsigned long wrong = 0;
    for (int length = 1; length <= LARGEST; length *= 8) {
        for (int i = 0; i < length; i++)
            out[i] = (unsigned char)(i * 7 + rank + length);
        MPI_Sendrecv(out, length, MPI_BYTE, next, length, in, length, MPI_BYTE, last, length, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        for (int i = 0; i < length; i++)
            wrong += in[i] != (unsigned char)(i * 7 + last + length);
    }
    unsigned long all = 0;
    MPI_Reduce(&wrong, &all, 1, MPI_UNSIGNED_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0)
        printf("end: %lu wrong bytes\n", all);
    free(out);
    free(in);
    MPI_Finalize();
    return all != 0;
}
