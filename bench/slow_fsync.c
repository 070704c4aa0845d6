/* A disk whose fsync takes 5 ms longer: preloaded into a process, it sleeps before each call that
 * waits for the disk, then makes the real one. Calls that only start writing are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <time.h>

static void sleep_5_ms(void)
{
    struct timespec left = {0, 5000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

#define SLOW(name)                                                                                 \
    int name(int fd)                                                                               \
    {                                                                                              \
        static int (*real)(int);                                                                   \
        if (!real)                                                                                 \
            real = (int (*)(int))dlsym(RTLD_NEXT, #name);                                          \
        sleep_5_ms();                                                                              \
        return real(fd);                                                                           \
    }

SLOW(fsync)
SLOW(fdatasync)
SLOW(syncfs)

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned int flags)
{
    static int (*real)(int, off64_t, off64_t, unsigned int);
    if (!real)
        real = (int (*)(int, off64_t, off64_t, unsigned int))dlsym(RTLD_NEXT, "sync_file_range");
    if (flags & (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER))
        sleep_5_ms();
    return real(fd, offset, count, flags);
}
