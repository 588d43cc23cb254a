/* Heat on a square: five points, ranks in a grid, edges exchanged at every step. The result has the same bits however many ranks
 * there are and wherever they run: every point is computed by the same operations in the same order. */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 240
#define STEPS 100

int main(int argc, char **argv)
{
    int rank, size, dims[2] = {0, 0}, periods[2] = {0, 0}, at[2];
    MPI_Comm grid;

    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Dims_create(size, 2, dims);
    if (SIDE % dims[0] || SIDE % dims[1]) {
        fprintf(stderr, "%d ranks do not divide the square\n", size);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    MPI_Cart_create(MPI_COMM_WORLD, 2, dims, periods, 0, &grid);
    MPI_Comm_rank(grid, &rank);
    MPI_Cart_coords(grid, rank, 2, at);
    int up, down, left, right;
    MPI_Cart_shift(grid, 0, 1, &up, &down);
    MPI_Cart_shift(grid, 1, 1, &left, &right);

    int rows = SIDE / dims[0], columns = SIDE / dims[1], width = columns + 2;
    double *now = calloc((size_t)(rows + 2) * width, sizeof *now);
    double *then = calloc((size_t)(rows + 2) * width, sizeof *then);
#define P(field, r, c) ((field)[(size_t)(r) * width + (c)])
    for (int r = 1; r <= rows; r++)
        for (int c = 1; c <= columns; c++) {
            long y = at[0] * rows + r - 1, x = at[1] * columns + c - 1;
            P(now, r, c) = (double)((x * 7919 + y * 104729) % 1000) / 3.0;
        }
    MPI_Datatype column;
    MPI_Type_vector(rows, 1, width, MPI_DOUBLE, &column);
    MPI_Type_commit(&column);

    double start = MPI_Wtime();
    for (int step = 0; step < STEPS; step++) {
        MPI_Request all[8];
        MPI_Status status[8];
        MPI_Irecv(&P(now, 0, 1), columns, MPI_DOUBLE, up, 0, grid, &all[0]);
        MPI_Irecv(&P(now, rows + 1, 1), columns, MPI_DOUBLE, down, 1, grid, &all[1]);
        MPI_Irecv(&P(now, 1, 0), 1, column, left, 2, grid, &all[2]);
        MPI_Irecv(&P(now, 1, columns + 1), 1, column, right, 3, grid, &all[3]);
        MPI_Isend(&P(now, 1, 1), columns, MPI_DOUBLE, up, 1, grid, &all[4]);
        MPI_Isend(&P(now, rows, 1), columns, MPI_DOUBLE, down, 0, grid, &all[5]);
        MPI_Isend(&P(now, 1, 1), 1, column, left, 3, grid, &all[6]);
        MPI_Isend(&P(now, 1, columns), 1, column, right, 2, grid, &all[7]);
        MPI_Waitall(8, all, status);
        for (int r = 1; r <= rows; r++)
            for (int c = 1; c <= columns; c++) {
                double around = P(now, r - 1, c) + P(now, r + 1, c) + P(now, r, c - 1) + P(now, r, c + 1);
                P(then, r, c) = 0.5 * P(now, r, c) + 0.125 * around;
            }
        double *swap = now;
        now = then;
        then = swap;
    }
    double took = MPI_Wtime() - start;

    /* Every point's bits, mixed with its place. */
    uint64_t mine = 0, all = 0;
    for (int r = 1; r <= rows; r++)
        for (int c = 1; c <= columns; c++) {
            uint64_t bits, place = (uint64_t)(at[0] * rows + r - 1) * SIDE + at[1] * columns + c - 1;
            memcpy(&bits, &P(now, r, c), sizeof bits);
            bits = (bits ^ place * 0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd;
            mine += bits ^ bits >> 33;
        }
    MPI_Reduce(&mine, &all, 1, MPI_UINT64_T, MPI_SUM, 0, grid);
    if (rank == 0) {
        printf("end: checksum %016llx, centre-left %.17g\n", (unsigned long long)all, P(now, rows, columns));
        fprintf(stderr, "%d steps in %.3f s\n", STEPS, took);
    }
    MPI_Type_free(&column);
    MPI_Finalize();
    return 0;
}
