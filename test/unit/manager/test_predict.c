#include "unit/base/unit.h"

#include <stdio.h>

#include "base/stage.h"
#include "base/text.h"
#include "manager/predict.h"

#define DIR "test/fixtures/measured-boot/"

/* The value behind "<key> " at the start of a line of recorded.txt; test/fixtures/measured-boot tells the origin. */
static void recorded(const char *key, char *ret, size_t len)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    struct err e = ERR_INIT;

    if (!stage_read_file(DIR "recorded.txt", &text, &e))
        fail_msg("%s; run from the top of the source tree", err_text(&e));
    for (struct slice left = buf_slice(&text); left.len;) {
        struct slice line = slice_first(left, slice_find(left, '\n'));

        left = slice_after(left, line.len + 1);
        if (!slice_starts(line, key) || line.at[strlen(key)] != ' ')
            continue;
        assert_true(line.len - strlen(key) - 1 < len);
        snprintf(ret, len, "%.*s", (int)(line.len - strlen(key) - 1),
                 (const char *)line.at + strlen(key) + 1);
        return;
    }
    fail_msg("no %s in recorded.txt", key);
}

static void recorded_digest(const char *key, uint8_t ret[HASH_SHA256_LEN])
{
    CLEANUP(buf_done) struct buf digest = BUF_INIT(HASH_SHA256_LEN);
    struct err e = ERR_INIT;
    char hex[65];

    recorded(key, hex, sizeof(hex));
    assert_true(hex_decode(slice_of_str(hex), &digest, &e));
    assert_int_equal(digest.len, HASH_SHA256_LEN);
    memcpy(ret, buf_slice(&digest).at, HASH_SHA256_LEN);
}

static void read_log(struct buf *ret)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf digits = BUF_INIT(65536);
    struct err e = ERR_INIT;

    assert_true(stage_read_file(DIR "event-log.hex", &text, &e));
    for (size_t i = 0; i < text.len; i++)
        if (buf_slice(&text).at[i] != '\n')
            assert_true(buf_append_u8(&digits, buf_slice(&text).at[i], &e));
    assert_true(hex_decode(buf_slice(&digits), ret, &e));
}

/* All events are in the log, in their order, and make the PCR that the guest read. */
static void check(const struct mgr_pcr *pcr, const char *key)
{
    CLEANUP(buf_done) struct buf log = BUF_INIT(65536);
    uint8_t want[HASH_SHA256_LEN];
    struct slice left;

    read_log(&log);
    left = buf_slice(&log);
    for (size_t i = 0; i < pcr->count; i++) {
        const uint8_t *at = memmem(left.at, left.len, pcr->events[i], HASH_SHA256_LEN);

        if (!at)
            fail_msg("event %zu of %s is not in the log behind the ones before it", i + 1, key);
        left = slice_after(left, (size_t)(at - left.at) + HASH_SHA256_LEN);
    }
    recorded_digest(key, want);
    assert_memory_equal(pcr->value, want, sizeof(want));
}

static void pcr9_of_the_recorded_boot(void **state)
{
    uint8_t initrd[HASH_SHA256_LEN];
    struct err e = ERR_INIT;
    char cmdline[512];
    struct mgr_pcr pcr;

    (void)state;
    recorded("cmdline", cmdline, sizeof(cmdline));
    recorded_digest("initrd", initrd);
    assert_true(mgr_predict_pcr9(cmdline, initrd, &pcr, &e));
    assert_int_equal(pcr.count, 2);
    check(&pcr, "pcr9");
}

static void pcr4_of_the_recorded_boot(void **state)
{
    uint8_t kernel[HASH_SHA256_LEN];
    struct err e = ERR_INIT;
    struct mgr_pcr pcr;

    (void)state;
    recorded_digest("kernel", kernel);
    assert_true(mgr_predict_pcr4(kernel, &pcr, &e));
    assert_int_equal(pcr.count, 3);
    check(&pcr, "pcr4");
}

/* One bit of the initramfs or one letter of the command line is another PCR 9, by another event. */
static void pcr9_follows_command_line_and_initramfs(void **state)
{
    uint8_t initrd[HASH_SHA256_LEN] = { 0 };
    struct mgr_pcr base;
    struct mgr_pcr line;
    struct mgr_pcr file;
    struct err e = ERR_INIT;

    (void)state;
    assert_true(mgr_predict_pcr9("quiet", initrd, &base, &e));
    assert_true(mgr_predict_pcr9("quiet ", initrd, &line, &e));
    initrd[31] = 1;
    assert_true(mgr_predict_pcr9("quiet", initrd, &file, &e));
    assert_memory_not_equal(base.events[0], line.events[0], HASH_SHA256_LEN);
    assert_memory_equal(base.events[1], line.events[1], HASH_SHA256_LEN);
    assert_memory_equal(base.events[0], file.events[0], HASH_SHA256_LEN);
    assert_memory_not_equal(base.value, line.value, HASH_SHA256_LEN);
    assert_memory_not_equal(base.value, file.value, HASH_SHA256_LEN);
}

/* sha256(32 zero bytes, sha256("\0\0\0\0")): what PCRs hold that saw a separator alone. */
static void pcr_of_one_separator(void **state)
{
    static const uint8_t separator[4] = { 0 };
    struct mgr_pcr pcr = { .count = 1 };
    struct err e = ERR_INIT;
    char hex[65];

    (void)state;
    assert_true(hash_bytes(HASH_SHA256, slice_of(separator, 4), pcr.events[0], &e));
    assert_true(mgr_pcr_fold(&pcr, &e));
    hex_encode(slice_of(pcr.value, HASH_SHA256_LEN), hex);
    assert_string_equal(hex, "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pcr9_of_the_recorded_boot),
        cmocka_unit_test(pcr4_of_the_recorded_boot),
        cmocka_unit_test(pcr9_follows_command_line_and_initramfs),
        cmocka_unit_test(pcr_of_one_separator),
    };

    return cmocka_run_group_tests_name("manager/predict", tests, NULL, NULL);
}
