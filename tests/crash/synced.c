/* Loaded into the child: keeps beside every file, as <file>.synced, its content of the last time it was synced. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void keep(int fd) {
    char link[64], path[PATH_MAX], part[PATH_MAX + 16], kept[PATH_MAX + 16];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    if (!strstr(path, "webhooks.db")) return;
    snprintf(part, sizeof part, "%s.part", path);
    snprintf(kept, sizeof kept, "%s.synced", path);
    pthread_mutex_lock(&one_at_a_time);
    int from = open(path, O_RDONLY), to = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct stat size;
    if (from >= 0 && to >= 0 && fstat(from, &size) == 0) {
        off_t at = 0;
        while (at < size.st_size && sendfile(to, from, &at, size.st_size - at) > 0) {}
        rename(part, kept);
    }
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    pthread_mutex_unlock(&one_at_a_time);
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = real(fd);
    if (result == 0) keep(fd);
    return result;
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd);
    if (result == 0) keep(fd);
    return result;
}
