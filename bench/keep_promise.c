/* A receiver that neither fsyncs nor hashes, made one that does what we do before Success: preloaded
 * into a process, each regular file that was written through stdio is hashed (SHA-256, from the
 * kernel's cache) and durable, data and directory entry, before fclose returns. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

unsigned char *SHA256(const unsigned char *data, size_t count, unsigned char *digest);

static void hash(const char *path, size_t count)
{
    unsigned char digest[32];
    int fd = open(path, O_RDONLY);
    void *content = mmap(NULL, count, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (content != MAP_FAILED) {
        SHA256(content, count, digest);
        munmap(content, count);
    }
    close(fd);
}

static void keep_promise(int fd)
{
    struct stat found;
    char link[64], path[PATH_MAX];
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY || fstat(fd, &found) || !S_ISREG(found.st_mode))
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return;
    path[length] = '\0';
    hash(path, found.st_size);
    fsync(fd);
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
        keep_promise(fileno(file));
    return real(file);
}
