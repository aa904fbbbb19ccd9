/* Records what a process does to its database files, in order: preloaded, it stands between SQLite
   and the C library, so the very SQLite and the very Python module of the product are watched.

   CRASH_DIR      the folder that is watched: files in it whose names begin with "gateway.db"
                  or "headend.db", and the folder itself
   CRASH_JOURNAL  where the record goes

   A record is: op (1 byte), file (4), offset (8), length (4), little-endian, then `length` bytes.
   W write, T truncate (offset is the new size), S sync, C create (payload: name), U unlink (name),
   D sync of the folder, M a mark (payload: what the watched program wrote to the file "marks").
   The memory map of the -shm file is no record: a power cut leaves nothing of it that SQLite uses.
   A call that the recorder does not know how to record (a rename, a vectored or positioned write of
   another name) ends the process: a silent gap would make every image a lie. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FD 4096
#define MAX_FILES 65536
enum { NOTHING = 0, FOLDER = -1, MARKS = -2 };

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static int journal = -1;
static char folder[4096];
static size_t folder_length;
static int kind_of_fd[MAX_FD]; /* file number, or one of the above */
static char *name_of_file[MAX_FILES];
static int files;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);

static void give_up(const char *what) {
    fprintf(stderr, "recorder: cannot record %s\n", what);
    abort();
}

__attribute__((constructor)) static void start(void) {
    real_open = dlsym(RTLD_NEXT, "open64");
    real_close = dlsym(RTLD_NEXT, "close");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    const char *dir = getenv("CRASH_DIR"), *path = getenv("CRASH_JOURNAL");
    if (!dir || !path || strlen(dir) >= sizeof folder)
        return;
    strcpy(folder, dir);
    folder_length = strlen(folder);
    journal = real_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (journal < 0)
        give_up("anything: the journal cannot be made");
    unsetenv("LD_PRELOAD");
}

static void put(const void *data, size_t length) {
    const char *at = data;
    while (length) {
        ssize_t written = real_write(journal, at, length);
        if (written <= 0)
            give_up("more: the journal is full");
        at += written;
        length -= (size_t)written;
    }
}

static void record(char op, int32_t file, int64_t offset, const void *data, size_t length) {
    char head[17];
    uint32_t size = (uint32_t)length;
    head[0] = op;
    memcpy(head + 1, &file, 4);
    memcpy(head + 5, &offset, 8);
    memcpy(head + 13, &size, 4);
    put(head, sizeof head);
    put(data, length);
}

/* The name of a watched file, "" for the folder itself, NULL for anything else. */
static const char *watched(const char *path) {
    if (journal < 0 || strncmp(path, folder, folder_length))
        return NULL;
    const char *name = path + folder_length;
    if (!*name || !strcmp(name, "/"))
        return "";
    if (*name++ != '/' || strchr(name, '/'))
        return NULL;
    size_t length = strlen(name);
    if (length > 4 && !strcmp(name + length - 4, "-shm"))
        return NULL;
    if (!strcmp(name, "marks") || !strncmp(name, "gateway.db", 10) || !strncmp(name, "headend.db", 10))
        return name;
    return NULL;
}

static int number_of(const char *name) {
    for (int i = 1; i <= files; i++)
        if (name_of_file[i] && !strcmp(name_of_file[i], name))
            return i;
    if (files + 1 >= MAX_FILES)
        give_up("so many files");
    name_of_file[++files] = strdup(name);
    record('C', files, 0, name, strlen(name));
    return files;
}

static int opened(int fd, const char *path) {
    if (fd < 0 || fd >= MAX_FD)
        return fd;
    const char *name = watched(path);
    pthread_mutex_lock(&lock);
    if (!name)
        kind_of_fd[fd] = NOTHING;
    else if (!*name)
        kind_of_fd[fd] = FOLDER;
    else if (!strcmp(name, "marks"))
        kind_of_fd[fd] = MARKS;
    else
        kind_of_fd[fd] = number_of(name);
    pthread_mutex_unlock(&lock);
    return fd;
}

static int kind(int fd) { return fd >= 0 && fd < MAX_FD ? kind_of_fd[fd] : NOTHING; }

#define OPEN(NAME)                                                                                 \
    int NAME(const char *path, int flags, ...) {                                                   \
        mode_t mode = 0;                                                                           \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                       \
            va_list more;                                                                          \
            va_start(more, flags);                                                                 \
            mode = va_arg(more, mode_t);                                                           \
            va_end(more);                                                                          \
        }                                                                                          \
        if (!real_open)                                                                            \
            start();                                                                               \
        if ((flags & O_TRUNC) && watched(path) && *watched(path))                                  \
            give_up("O_TRUNC");                                                                    \
        return opened(real_open(path, flags, mode), path);                                         \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd < MAX_FD)
        kind_of_fd[fd] = NOTHING;
    return real_close(fd);
}

ssize_t write(int fd, const void *data, size_t length) {
    int file = kind(fd);
    if (file == NOTHING)
        return real_write(fd, data, length);
    pthread_mutex_lock(&lock);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t written = real_write(fd, data, length);
    if (written > 0)
        record(file == MARKS ? 'M' : 'W', file, offset, data, (size_t)written);
    pthread_mutex_unlock(&lock);
    return written;
}

#define PWRITE(NAME)                                                                               \
    ssize_t NAME(int fd, const void *data, size_t length, off_t offset) {                          \
        int file = kind(fd);                                                                       \
        if (file == NOTHING)                                                                       \
            return real_pwrite(fd, data, length, offset);                                          \
        pthread_mutex_lock(&lock);                                                                 \
        ssize_t written = real_pwrite(fd, data, length, offset);                                   \
        if (written > 0)                                                                           \
            record('W', file, offset, data, (size_t)written);                                      \
        pthread_mutex_unlock(&lock);                                                               \
        return written;                                                                            \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define TRUNCATE(NAME)                                                                             \
    int NAME(int fd, off_t size) {                                                                 \
        int file = kind(fd);                                                                       \
        pthread_mutex_lock(&lock);                                                                 \
        int failed = real_ftruncate(fd, size);                                                     \
        if (!failed && file > 0)                                                                   \
            record('T', file, size, "", 0);                                                        \
        pthread_mutex_unlock(&lock);                                                               \
        return failed;                                                                             \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

static int synced(int fd, int (*sync)(int)) {
    int file = kind(fd);
    if (file == NOTHING || file == MARKS)
        return sync(fd);
    pthread_mutex_lock(&lock);
    int failed = sync(fd);
    if (!failed)
        record(file == FOLDER ? 'D' : 'S', file, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return failed;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int unlink(const char *path) {
    const char *name = watched(path);
    if (!name || !*name)
        return real_unlink(path);
    pthread_mutex_lock(&lock);
    int failed = real_unlink(path);
    if (!failed) {
        int file = number_of(name);
        record('U', file, 0, name, strlen(name));
        free(name_of_file[file]);
        name_of_file[file] = NULL; /* made again, it is another file */
    }
    pthread_mutex_unlock(&lock);
    return failed;
}

/* What SQLite does not do today. Should it begin to, this must be taught first. */
int rename(const char *from, const char *to) {
    if (watched(from) || watched(to))
        give_up("rename");
    static int (*real)(const char *, const char *);
    if (!real)
        real = dlsym(RTLD_NEXT, "rename");
    return real(from, to);
}
#define UNKNOWN(TYPE, NAME, PARAMETERS, ARGUMENTS)                                                 \
    TYPE NAME PARAMETERS {                                                                         \
        static TYPE (*real) PARAMETERS;                                                            \
        if (!real)                                                                                 \
            real = dlsym(RTLD_NEXT, #NAME);                                                        \
        if (kind(fd) != NOTHING)                                                                   \
            give_up(#NAME);                                                                        \
        return real ARGUMENTS;                                                                     \
    }
UNKNOWN(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
UNKNOWN(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
UNKNOWN(int, fallocate, (int fd, int mode, off_t at, off_t length), (fd, mode, at, length))
UNKNOWN(int, posix_fallocate, (int fd, off_t at, off_t length), (fd, at, length))
UNKNOWN(int, posix_fallocate64, (int fd, off_t at, off_t length), (fd, at, length))
