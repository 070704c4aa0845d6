/* A receiver that does not fsync, made one that does: preloaded into a process, each regular file
 * that was written through stdio is durable, data and directory entry, before fclose returns. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void make_durable(int fd)
{
    struct stat found;
    char link[64], path[PATH_MAX];
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY || fstat(fd, &found) || !S_ISREG(found.st_mode))
        return;
    fsync(fd);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return;
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    int directory = open(path, O_RDONLY | O_DIRECTORY);
    if (directory >= 0) {
        fsync(directory);
        close(directory);
    }
}

int fclose(FILE *file)
{
    static int (*real)(FILE *);
    if (!real)
        real = (int (*)(FILE *))dlsym(RTLD_NEXT, "fclose");
    if (fflush(file) == 0)
        make_durable(fileno(file));
    return real(file);
}
