/* Sums and maxima over all ranks, of vectors of several lengths, against what they must be. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define LONGEST 100000

int main(int argc, char **argv)
{
    int rank, size;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    double *mine = malloc(LONGEST * sizeof *mine), *sum = malloc(LONGEST * sizeof *sum);
    double *most = malloc(LONGEST * sizeof *most);
    long wrong = 0;

    for (int length = 1; length <= LONGEST; length *= 10) {
        /* Whole numbers: their sums are exact in any order. */
        for (int i = 0; i < length; i++)
            mine[i] = (double)i * (rank + 1) - 1000.0 * rank;
        MPI_Allreduce(mine, sum, length, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        MPI_Allreduce(mine, most, length, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        for (int i = 0; i < length; i++) {
            double total = (double)i * size * (size + 1) / 2 - 1000.0 * size * (size - 1) / 2;
            double first = i, last = (double)i * size - 1000.0 * (size - 1);
            wrong += sum[i] != total;
            wrong += most[i] != (first > last ? first : last);
        }
        if (rank == 0)
            printf("length %d: first %.0f %.0f, last %.0f %.0f\n", length, sum[0], most[0], sum[length - 1],
                   most[length - 1]);
    }
    long all = 0;
    MPI_Allreduce(&wrong, &all, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0)
        printf("end: %ld wrong elements\n", all);
    MPI_Finalize();
    return all != 0;
}
