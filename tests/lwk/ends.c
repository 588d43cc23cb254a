/* What is left of a child that has ended: until it is waited for a directory in /proc, afterwards nothing, not even in memory
 * that it shared. */
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 50 };

/* State, name and parent as /proc has them; 0 without a directory. */
static char state_of(pid_t pid, char *name, int *parent)
{
    char path[64], state = 0;
    sprintf(path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%*d (%15[^)]) %c %d", name, &state, parent) != 3)
        state = '?';
    fclose(file);
    return state;
}

int main(void)
{
    char own[16];
    int attached = 0, lost = 0, strange = 0, late = 0;
    prctl(PR_GET_NAME, own);
    for (int round = 0; round < ROUNDS; round++) {
        char name[16] = "";
        int parent = 0, status;
        struct shmid_ds ds;
        int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
        volatile int *shared = shmat(id, NULL, 0);
        pid_t child = fork();
        if (child == 0) {
            *shared = round;
            _exit(0);
        }
        char state = 0;
        for (int tries = 0; tries < 5000 && state != 'Z'; tries++) {
            state = state_of(child, name, &parent);
            if (state == 0 || state == '?')
                break;
            nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
        }
        lost += state != 'Z';
        strange += strcmp(name, own) != 0 || parent != getpid();
        if (waitpid(child, &status, 0) != child || *shared != round)
            return 1;
        late += state_of(child, name, &parent) != 0;
        shmctl(id, IPC_STAT, &ds);
        attached += ds.shm_nattch != 1;
        shmdt((void *)shared);
        shmctl(id, IPC_RMID, NULL);
    }
    printf("%d no zombies, %d strange ones, %d still there, %d still attached\n", lost, strange, late, attached);
    return lost + strange + late + attached != 0;
}
