/* Threads that meet in mutexes, conditions, barriers, semaphores, once, thread-specific data and robust mutexes. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 2, ROUNDS = 2000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static pthread_rwlock_t table_lock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t items;
static long counter, turn, initialised, destroyed, taken;
static __thread long own;

static void initialise(void) { initialised++; }
static void destroy(void *value) { (void)value; __atomic_fetch_add(&destroyed, 1, __ATOMIC_SEQ_CST); }

static void *work(void *argument)
{
    long number = (long)argument;

    pthread_once(&once, initialise);
    pthread_setspecific(key, &own);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_mutex_lock(&lock);
        counter++;
        pthread_mutex_unlock(&lock);
        own++;
    }
    pthread_barrier_wait(&barrier);
    for (int round = 0; round < 200; round++) {
        pthread_mutex_lock(&lock);
        while (turn % THREADS != number)
            pthread_cond_wait(&turn_changed, &lock);
        turn++;
        pthread_cond_broadcast(&turn_changed);
        pthread_mutex_unlock(&lock);
    }
    for (int round = 0; round < 100; round++) {
        sem_post(&items);
        sem_wait(&items);
        pthread_rwlock_rdlock(&table_lock);
        pthread_rwlock_unlock(&table_lock);
        pthread_rwlock_wrlock(&table_lock);
        taken++;
        pthread_rwlock_unlock(&table_lock);
    }
    return (void *)own;
}

static pthread_mutex_t robust;

static void *die_with_lock(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&robust);
    return NULL;
}

static void *sleep_for_ever(void *unused)
{
    (void)unused;
    for (;;)
        pause();
}

int main(void)
{
    pthread_t threads[THREADS];
    long sum = 0;

    pthread_key_create(&key, destroy);
    pthread_barrier_init(&barrier, NULL, THREADS);
    sem_init(&items, 0, 0);
    for (long i = 0; i < THREADS; i++) {
        int error = pthread_create(&threads[i], NULL, work, (void *)i);
        if (error) {
            printf("pthread_create: %s\n", strerror(error));
            return 1;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        sum += (long)result;
    }
    printf("counter %ld, own %ld, turns %ld, initialised %ld, destroyed %ld, taken %ld\n", counter, sum, turn,
           initialised, destroyed, taken);

    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attributes);
    pthread_t owner;
    pthread_create(&owner, NULL, die_with_lock, NULL);
    pthread_join(owner, NULL);
    int state = pthread_mutex_lock(&robust);
    printf("robust: %s\n", state == EOWNERDEAD ? "owner died" : "no news");
    pthread_mutex_consistent(&robust);
    pthread_mutex_unlock(&robust);

    pthread_t sleeper;
    void *result;
    pthread_create(&sleeper, NULL, sleep_for_ever, NULL);
    usleep(20000);
    pthread_cancel(sleeper);
    pthread_join(sleeper, &result);
    printf("cancelled: %s\n", result == PTHREAD_CANCELED ? "yes" : "no");

    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20000000;
    if (soon.tv_nsec >= 1000000000) {
        soon.tv_nsec -= 1000000000;
        soon.tv_sec++;
    }
    pthread_mutex_lock(&lock);
    int timed = pthread_cond_timedwait(&turn_changed, &lock, &soon);
    pthread_mutex_unlock(&lock);
    printf("timed wait: %s\n", strerror(timed));
    return 0;
}
