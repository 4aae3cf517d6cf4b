/* Loaded into the child: its wall clock is ahead of the system's by as many milliseconds as stand in the file that CLOCK_AHEAD names. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead_ms = 0;

__attribute__((constructor)) static void map_file(void) {
    const char *path = getenv("CLOCK_AHEAD");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(0, sizeof *ahead_ms, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) ahead_ms = mapped;
    close(file);
}

static int wall_clock(struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, CLOCK_REALTIME, now);
    if (result != 0 || !ahead_ms) return result;
    int64_t ahead = *ahead_ms, nanos = now->tv_nsec + ahead % 1000 * 1000000;
    now->tv_sec += ahead / 1000 + (nanos >= 1000000000) - (nanos < 0);
    now->tv_nsec = (nanos + 1000000000) % 1000000000;
    return 0;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) return wall_clock(now);
    return (int)syscall(SYS_clock_gettime, id, now);
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec wall;
    int result = wall_clock(&wall);
    (void)zone;
    if (result == 0 && now) *now = (struct timeval){wall.tv_sec, wall.tv_nsec / 1000};
    return result;
}

time_t time(time_t *now) {
    struct timespec wall;
    if (wall_clock(&wall) != 0) return -1;
    if (now) *now = wall.tv_sec;
    return wall.tv_sec;
}
