/* Fails, or dies at, the n-th call of some kinds on some paths; told how by a file in shared memory.

   Preloaded into a daemon (tests/faults/preload.py). FAULT_CONTROL names the file, which is `struct
   control` and whose fields may change at any time: calls are counted over all threads, all forked
   children and all programs that they start, so that "the 7th" is one call of all of these. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, FAIL, KILL_BEFORE, KILL_AFTER };
enum {
    FSYNC = 1, RENAME = 2, LINK = 4, OPEN = 8, WRITE = 16, UNLINK = 32, MKDIR = 64, SYNC_RANGE = 128
};
enum { LOGGED = 8192 };

struct control {
    int32_t action;
    uint32_t kinds;
    int64_t nth;   /* from 1 */
    int64_t count; /* matching calls until now */
    int64_t fired; /* calls that failed or died */
    int32_t error; /* errno of a failing call */
    int32_t lasting; /* every call from the n-th on */
    char path[512], except_path[128], program[64]; /* substrings; an empty exception is none */
    struct { char kind[12], path[244]; } log[LOGGED];
};

static struct control *control;
static char command[4096];

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("FAULT_CONTROL");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = read(fd, command, sizeof command - 1);
    close(fd);
    for (ssize_t at = 0; at < size; at++)
        if (!command[at])
            command[at] = ' ';
    if (map != MAP_FAILED)
        control = map;
}

static const char *kind_name(int kind)
{
    switch (kind) {
    case FSYNC: return "fsync";
    case RENAME: return "rename";
    case LINK: return "link";
    case OPEN: return "open";
    case WRITE: return "write";
    case UNLINK: return "unlink";
    case MKDIR: return "mkdir";
    default: return "sync_range";
    }
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* What to do at this call: 0 nothing, FAIL (errno is set), or KILL_AFTER; may not return at all. */
static int meet(int kind, const char *path)
{
    if (!control || control->action == OFF || !(control->kinds & kind))
        return 0;
    if (!strstr(path, control->path) || !strstr(command, control->program)
        || (*control->except_path && strstr(path, control->except_path)))
        return 0;
    int64_t number = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (number <= LOGGED) {
        size_t length = strlen(path), room = sizeof control->log[0].path - 1;
        strncpy(control->log[number - 1].kind, kind_name(kind), 11);
        strncpy(control->log[number - 1].path, path + (length > room ? length - room : 0), room);
    }
    if (control->action == COUNT || number < control->nth
        || (number > control->nth && !control->lasting))
        return 0;
    __atomic_add_fetch(&control->fired, 1, __ATOMIC_SEQ_CST);
    if (control->action == KILL_BEFORE)
        die();
    if (control->action == FAIL)
        errno = control->error;
    return control->action;
}

static int meet_fd(int kind, int fd)
{
    char name[64], path[4096];
    if (!control || control->action == OFF || !(control->kinds & kind))
        return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    return meet(kind, path);
}

/* Define `name` with `parameters`; `met` says how it is met, `failed` is what it then returns. */
#define AROUND(type, name, parameters, arguments, met, failed)      \
    type name parameters                                            \
    {                                                               \
        static type (*real) parameters;                             \
        if (!real)                                                  \
            real = dlsym(RTLD_NEXT, #name);                         \
        int to_do = met;                                            \
        if (to_do == FAIL)                                          \
            return failed;                                          \
        type result = real arguments;                               \
        if (to_do == KILL_AFTER)                                    \
            die();                                                  \
        return result;                                              \
    }

AROUND(int, fsync, (int fd), (fd), meet_fd(FSYNC, fd), -1)
AROUND(int, fdatasync, (int fd), (fd), meet_fd(FSYNC, fd), -1)
AROUND(int, sync_file_range, (int fd, off64_t at, off64_t count, unsigned flags),
       (fd, at, count, flags), meet_fd(SYNC_RANGE, fd), -1)
AROUND(int, rename, (const char *from, const char *to), (from, to), meet(RENAME, to), -1)
AROUND(int, renameat, (int fd, const char *from, int to_fd, const char *to), (fd, from, to_fd, to),
       meet(RENAME, to), -1)
AROUND(int, renameat2, (int fd, const char *from, int to_fd, const char *to, unsigned flags),
       (fd, from, to_fd, to, flags), meet(RENAME, to), -1)
AROUND(int, link, (const char *from, const char *to), (from, to), meet(LINK, to), -1)
AROUND(int, linkat, (int fd, const char *from, int to_fd, const char *to, int flags),
       (fd, from, to_fd, to, flags), meet(LINK, to), -1)
AROUND(int, unlink, (const char *path), (path), meet(UNLINK, path), -1)
AROUND(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags),
       meet(UNLINK, path), -1)
AROUND(int, mkdir, (const char *path, mode_t mode), (path, mode), meet(MKDIR, path), -1)
AROUND(DIR *, opendir, (const char *path), (path), meet(OPEN, path), NULL)
AROUND(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size),
       meet_fd(WRITE, fd), -1)
AROUND(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at),
       meet_fd(WRITE, fd), -1)
AROUND(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at),
       (fd, data, size, at), meet_fd(WRITE, fd), -1)
AROUND(ssize_t, writev, (int fd, const struct iovec *pieces, int count), (fd, pieces, count),
       meet_fd(WRITE, fd), -1)

static mode_t mode_of(int flags, va_list list)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
}

#define OPENS(name, parameters, arguments)                          \
    int name parameters                                             \
    {                                                               \
        static int (*real) parameters;                              \
        va_list list;                                               \
        va_start(list, flags);                                      \
        mode_t mode = mode_of(flags, list);                         \
        va_end(list);                                               \
        if (!real)                                                  \
            real = dlsym(RTLD_NEXT, #name);                         \
        int to_do = meet(OPEN, path);                               \
        if (to_do == FAIL)                                          \
            return -1;                                              \
        int fd = real arguments;                                    \
        if (to_do == KILL_AFTER)                                    \
            die();                                                  \
        return fd;                                                  \
    }

OPENS(open, (const char *path, int flags, ...), (path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENS(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPENS(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))
