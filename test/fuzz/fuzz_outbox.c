/*
 * The files of an outbox, as a crash or a bad disk may leave them. Whatever
 * they hold, the outbox opens, gives records in rising order (two lanes may
 * hold the same number then), takes a new event, and has that event after it was opened again.
 *
 * Input: pieces of u8 (which file, and bit 7: mend its CRCs, so that what is
 * behind them is reached), u16 length (little-endian), bytes of the file.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cursor.h"
#include "base/mem.h"
#include "base/stage.h"
#include "journal/outbox.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {
    "e-0000000000000001", "e-0000000000000004", "l-0000000000000002", "d-0000000000000003", "acked", "seen"
};
#define EVENT "the event of this run"

static uv_loop_t loop;
static int parent_fd = -1;
static char dir[256], dir_name[64];

static void remove_dir(void)
{
    struct err e = ERR_INIT;

    if (!stage_remove_tree(parent_fd, dir_name, &e))
        fprintf(stderr, "%s\n", err_text(&e));
    close(parent_fd);
    uv_loop_close(&loop);
}

static void start(void)
{
    const char *tmp = getenv("TMPDIR");

    tmp = tmp && *tmp ? tmp : "/tmp";
    snprintf(dir_name, sizeof(dir_name), "fuzz-outbox-%d", (int)getpid());
    snprintf(dir, sizeof(dir), "%s/%s", tmp, dir_name);
    parent_fd = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert(parent_fd >= 0 && uv_loop_init(&loop) == 0);
    atexit(remove_dir);
}

static void put_le32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t crc_of(const uint8_t *at, size_t len)
{
    return (uint32_t)crc32(crc32(0, NULL, 0), at, (uInt)len);
}

/* Gives every whole record, or slot, the CRC it should have. */
static void mend(size_t which, uint8_t *at, size_t len)
{
    if (which >= 4) {
        for (size_t i = 0; i + 32 <= len; i += 32)
            put_le32(at + i + 28, crc_of(at + i, 28));
        return;
    }
    for (size_t i = 8; i + 20 <= len;) {
        size_t body = at[i] | (size_t)at[i + 1] << 8 | (size_t)at[i + 2] << 16 | (size_t)at[i + 3] << 24;

        if (body > len - i - 20)
            return;
        put_le32(at + i + 4, crc_of(at + i + 8, 12 + body));
        i += 20 + body;
    }
}

static void write_file(size_t which, struct slice bytes, bool mended)
{
    CLEANUP(mem_done) uint8_t *copy = NULL;
    CLEANUP(fd_done) int fd = -1;
    struct err e = ERR_INIT;
    char path[512];

    copy = mem_new(bytes.len, &e);
    assert(copy);
    if (bytes.len)
        memcpy(copy, bytes.at, bytes.len);
    if (mended)
        mend(which, copy, bytes.len);
    snprintf(path, sizeof(path), "%s/%s", dir, names[which]);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(fd >= 0 && stage_write_all(fd, slice_of(copy, bytes.len), &e));
}

static void write_files(struct slice in)
{
    struct cursor c = cursor_of(in);
    uint8_t which;
    uint16_t len;
    struct slice bytes;

    while (cursor_u8(&c, &which) && cursor_le16(&c, &len)) {
        if (!cursor_bytes(&c, len, &bytes)) {
            bytes = c.left;
            c.left = SLICE_EMPTY;
        }
        write_file((which & 0x7f) % ARRAY_LEN(names), bytes, which & 0x80);
    }
}

static int flush_nothing(int fd)
{
    (void)fd;
    return 0;
}

static struct outbox *open_outbox(void)
{
    static const struct outbox_io quick = { .fdatasync = flush_nothing };
    const struct outbox_config cfg = { .dir = dir, .bytes_max = 64 * 4096, .dedup = 8, .io = &quick };
    struct outbox *o = NULL;
    struct err e = ERR_INIT;

    if (!outbox_open(&loop, &cfg, &o, &e)) {
        fprintf(stderr, "%s\n", err_text(&e));
        abort();
    }
    return o;
}

static void close_outbox(struct outbox *o)
{
    outbox_close(o, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
}

/* Reads all there is; acknowledges the first half. True when the event of this run is among it. */
static bool read_all(struct outbox *o)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);
    struct outbox_record r;
    struct outbox_stats st;
    struct err e = ERR_INIT;
    uint64_t before = 0, count = 0;
    bool found = false;
    enum outbox_step step;

    outbox_stats(o, &st);
    while ((step = outbox_next(o, &r, &payload, &e)) == OUTBOX_READY) {
        assert(r.seq >= before && r.seq > st.acked && r.seq <= st.last);
        before = r.seq;
        if (++count * 2 <= st.records)
            assert(outbox_ack(o, r.seq, &e));
        found = found || slice_equal_str(buf_slice(&payload), EVENT);
    }
    assert(step == OUTBOX_NONE); /* what was broken was cut off when it was opened */
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    struct outbox *o;
    uint64_t seq = 0;

    if (parent_fd < 0)
        start();
    assert(stage_remove_tree(parent_fd, dir_name, &e) && mkdir(dir, 0700) == 0);
    write_files(slice_of(data, size));
    o = open_outbox();
    read_all(o);
    assert(outbox_append(o, OUTBOX_EVENT, 0, slice_of_str(EVENT), &seq, &e));
    close_outbox(o);
    o = open_outbox();

    bool found = read_all(o);

    assert(found || seq == 0); /* 0: it was known already */
    close_outbox(o);
    return 0;
}
