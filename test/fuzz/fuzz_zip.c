/*
 * A zip archive from outside. Refused, it leaves nothing; accepted, what it
 * makes is written, unpacked and written again to the same bytes.
 */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/stage.h"
#include "base/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[64];
static int top_fd = -1;

static void remove_top(void)
{
    struct err e = ERR_INIT;

    fd_done(&top_fd);
    (void)!stage_remove_tree(AT_FDCWD, top, &e);
}

/* One directory for all runs, removed at the end. */
static void open_top(void)
{
    const char *parent = getenv("TMPDIR");

    snprintf(top, sizeof(top), "%s/fuzz-zip-XXXXXX", parent && strlen(parent) < 40 ? parent : "/tmp");
    assert(mkdtemp(top));
    atexit(remove_top);
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert(top_fd >= 0);
}

static int fresh_dir(const char *name)
{
    struct err e = ERR_INIT;
    int fd = -1;

    assert(stage_remove_tree(top_fd, name, &e));
    assert(mkdirat(top_fd, name, 0700) == 0);
    assert(stage_open_beneath(top_fd, name, O_RDONLY | O_DIRECTORY, 0, &fd, &e));
    return fd;
}

static size_t count_names(int dir_fd)
{
    DIR *dir = fdopendir(fcntl(dir_fd, F_DUPFD_CLOEXEC, 3));
    size_t count = 0;

    assert(dir);
    rewinddir(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

static int file_of(struct slice bytes)
{
    int fd = memfd_create("fuzz-zip", MFD_CLOEXEC);
    struct err e = ERR_INIT;

    assert(fd >= 0 && stage_write_all(fd, bytes, &e));
    return fd;
}

static bool to_buf(struct slice bytes, void *ctx, struct err *e)
{
    return buf_append(ctx, bytes, e);
}

static void round_trip(int dir_fd)
{
    CLEANUP(buf_done) struct buf first = BUF_INIT(1 << 24);
    CLEANUP(buf_done) struct buf second = BUF_INIT(1 << 24);
    CLEANUP(fd_done) int again_fd = fresh_dir("again");
    CLEANUP(fd_done) int fd = -1;
    struct err e = ERR_INIT;
    uint64_t len = 0;

    assert(zip_write_dir(dir_fd, to_buf, &first, NULL, &e));
    assert(zip_measure_dir(dir_fd, &len, &e) && len == first.len);
    fd = file_of(buf_slice(&first));
    assert(zip_unpack(fd, again_fd, NULL, NULL, &e));
    assert(zip_write_dir(again_fd, to_buf, &second, NULL, &e));
    assert(slice_equal(buf_slice(&first), buf_slice(&second)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct zip_limits limits = { .bytes = 1 << 20, .entries = 16, .depth = 8 };
    CLEANUP(fd_done) int dest_fd = -1;
    CLEANUP(fd_done) int fd = -1;
    struct err e = ERR_INIT;

    if (size > 65536)
        return 0;
    if (top_fd < 0)
        open_top();
    dest_fd = fresh_dir("dest");
    fd = file_of(slice_of(data, size));
    if (!zip_unpack(fd, dest_fd, &limits, NULL, &e)) {
        assert(e.kind != ERR_KIND_NONE && slice_is_utf8(slice_of_str(err_text(&e))));
        assert(count_names(dest_fd) == 0);
        return 0;
    }
    round_trip(dest_fd);
    return 0;
}
