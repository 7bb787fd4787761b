#include "unit/base/unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/stage.h"
#include "evidence/measure.h"
#include "evidence/tpm_int.h"

#define PCR 15

/* Answers as TPM 2.0 part 3 has them. The bytes of the header stand first: tag, length, code. */
#define OK(len) "\x80\x01\x00\x00\x00" len "\x00\x00\x00\x00"
#define BANKS_OF(alg) OK("\x19") "\x00\x00\x00\x00\x05\x00\x00\x00\x01" alg "\x03\xff\xff\xff"
#define BANKS BANKS_OF("\x00\x0b")
#define ZERO_8 "\x00\x00\x00\x00\x00\x00\x00\x00"
#define ZERO_32 ZERO_8 ZERO_8 ZERO_8 ZERO_8
#define ONE_32 ZERO_8 ZERO_8 ZERO_8 "\x00\x00\x00\x00\x00\x00\x00\x01"
#define REGISTER(bits, value) \
    OK("\x3e") "\x00\x00\x00\x01\x00\x00\x00\x01\x00\x0b\x03" bits "\x00\x00\x00\x01\x00\x20" value
#define READ_0 REGISTER("\x00\x80\x00", ZERO_32)
#define EXTENDED "\x80\x02\x00\x00\x00\x13\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00"

struct fixture {
    struct ev_tpm *tpm;
    int other; /* the TPM's end */
};

/* A TPM that has given its answers before it was asked; then it ends, or is silent. */
static void open_scripted(struct fixture *f, struct slice answers, bool ends, uint64_t timeout_ms)
{
    struct err e = ERR_INIT;
    int pair[2];

    setenv("TSS2_LOG", "all+none", 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    f->other = pair[0];
    if (!stage_write_all(pair[0], answers, &e))
        fail_msg("%s", err_text(&e));
    if (ends)
        shutdown(pair[0], SHUT_WR);
    if (!ev_tpm_open_fd(pair[1], "script", timeout_ms, &f->tpm, &e))
        fail_msg("%s", err_text(&e));
}

static void close_scripted(struct fixture *f)
{
    ev_tpm_close(f->tpm);
    close(f->other);
}

static struct measure_case {
    const char *name;
    struct slice answers;
    bool ends;
    enum err_kind want;
    const char *want_text;
} cases[] = {
    { "no_answer_ends_at_the_deadline", SLICE_LIT(""), false, ERR_KIND_TIMEOUT, "no answer in time" },
    { "half_an_answer_ends_at_the_deadline", SLICE_LIT("\x80\x01\x00"), false, ERR_KIND_TIMEOUT,
      "no answer in time" },
    { "end_instead_of_an_answer", SLICE_LIT(""), true, ERR_KIND_UNAVAILABLE,
      "it ended while it was being asked" },
    { "end_within_the_header", SLICE_LIT("\x80\x01\x00\x00\x00\x19"), true, ERR_KIND_UNAVAILABLE,
      "it ended while it was being asked" },
    { "end_within_the_body", SLICE_LIT(OK("\x19") "\x00"), true, ERR_KIND_UNAVAILABLE,
      "it ended while it was being asked" },
    { "length_below_a_header", SLICE_LIT(OK("\x09")), true, ERR_KIND_INVALID, "says it has 9" },
    { "length_above_the_limit", SLICE_LIT("\x80\x01\x00\x00\x10\x01\x00\x00\x00\x00"), true, ERR_KIND_INVALID,
      "says it has 4097" },
    { "bytes_behind_the_answer", SLICE_LIT(OK("\x0a") "x"), true, ERR_KIND_INVALID, "says it has 10" },
    { "body_missing", SLICE_LIT(OK("\x0a")), true, ERR_KIND_INVALID, "its answer makes no sense" },
    { "other_capability", SLICE_LIT(OK("\x13") "\x00\x00\x00\x00\x06\x00\x00\x00\x00"), true,
      ERR_KIND_INVALID, "its answer " },
    { "more_banks_than_there_can_be", SLICE_LIT(OK("\x13") "\x00\x00\x00\x00\x05\x00\x00\x00\xff"), true,
      ERR_KIND_INVALID, "its answer makes no sense" },
    { "not_started", SLICE_LIT("\x80\x01\x00\x00\x00\x0a\x00\x00\x01\x00"), true, ERR_KIND_UNAVAILABLE,
      "error 0x100 (it was not started" },
    { "failure_mode", SLICE_LIT("\x80\x01\x00\x00\x00\x0a\x00\x00\x01\x01"), true, ERR_KIND_UNAVAILABLE,
      "error 0x101 (it is in failure mode" },
    { "TP_11_bank_of_sha1_only", SLICE_LIT(BANKS_OF("\x00\x04")), true, ERR_KIND_UNSUPPORTED,
      "no active bank of SHA-256" },
    { "banks_without_the_register",
      SLICE_LIT(OK("\x19") "\x00\x00\x00\x00\x05\x00\x00\x00\x01\x00\x0b\x03\xff\x7f\xff"), true,
      ERR_KIND_UNSUPPORTED, "no active bank of SHA-256" },
};

static void measure_is_refused(void **state)
{
    const struct measure_case *c = *state;
    struct fixture f;
    struct ev_measured m;
    struct err e = ERR_INIT;

    open_scripted(&f, c->answers, c->ends, c->want == ERR_KIND_TIMEOUT ? 50 : 60000);
    assert_false(ev_measure(f.tpm, PCR, slice_of_str("{}"), &m, &e));
    assert_int_equal(e.kind, c->want);
    if (!strstr(err_text(&e), c->want_text))
        fail_msg("'%s' does not hold '%s'", err_text(&e), c->want_text);
    close_scripted(&f);
}

static struct read_case {
    const char *name;
    struct slice answers;
    enum err_kind want;
} reads[] = {
    { "register_as_it_is", SLICE_LIT(READ_0), ERR_KIND_NONE },
    { "register_of_another_number", SLICE_LIT(REGISTER("\x00\x40\x00", ZERO_32)), ERR_KIND_MISSING },
    { "no_register",
      SLICE_LIT(OK("\x1c") "\x00\x00\x00\x01\x00\x00\x00\x01\x00\x0b\x03\x00\x00\x00\x00\x00\x00\x00"),
      ERR_KIND_MISSING },
    { "register_of_other_length",
      SLICE_LIT(OK(
          "\x26") "\x00\x00\x00\x01\x00\x00\x00\x01\x00\x0b\x03\x00\x80\x00\x00\x00\x00\x01\x00\x08" ZERO_8),
      ERR_KIND_MISSING },
};

static void register_is_read(void **state)
{
    const struct read_case *c = *state;
    struct fixture f;
    static const enum ev_bank bank = EV_BANK_SHA256;
    uint8_t value[1][EV_DIGEST_MAX];
    uint8_t zero[32] = { 0 };
    struct err e = ERR_INIT;

    memset(value, 0xff, sizeof(value));
    open_scripted(&f, c->answers, true, 60000);
    assert_int_equal(ev_tpm_pcr_read(f.tpm, PCR, &bank, 1, value, &e), c->want == ERR_KIND_NONE);
    assert_int_equal(e.kind, c->want);
    if (c->want == ERR_KIND_NONE)
        assert_memory_equal(value[0], zero, sizeof(zero));
    else
        assert_int_equal(value[0][0], 0xff);
    close_scripted(&f);
}

/* All answers of a measurement one behind another can't be given before: a longer answer is refused. */
static void answer_of_a_whole_tpm(int fd, const char *value, size_t len)
{
    static const struct slice before[] = { SLICE_LIT(BANKS), SLICE_LIT(READ_0), SLICE_LIT(EXTENDED) };
    struct err e = ERR_INIT;
    uint8_t command[4096];

    for (size_t i = 0; i < 4; i++) {
        if (read(fd, command, sizeof(command)) <= 0)
            _exit(1);
        if (!stage_write_all(fd, i < 3 ? before[i] : slice_of(value, len), &e))
            _exit(2);
    }
    _exit(0);
}

static bool measure_with_peer(struct slice last, struct ev_measured *ret, struct err *e)
{
    struct ev_tpm *tpm;
    int pair[2];
    bool ok;
    pid_t pid;

    setenv("TSS2_LOG", "all+none", 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid = fork();
    if (pid == 0) {
        close(pair[1]);
        answer_of_a_whole_tpm(pair[0], (const char *)last.at, last.len);
    }
    close(pair[0]);
    assert_true(ev_tpm_open_fd(pair[1], "peer", 60000, &tpm, e));
    ok = ev_measure(tpm, PCR, slice_of_str("{}"), ret, e);
    ev_tpm_close(tpm);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return ok;
}

static void register_that_holds_what_follows_is_measured(void **state)
{
    uint8_t both[64] = { 0 };
    struct ev_measured m;
    struct err e = ERR_INIT;
    uint8_t answer[] = REGISTER("\x00\x80\x00", ZERO_32);

    (void)state;
    assert_true(hash_bytes(HASH_SHA3_256, slice_of_str("{}"), both + 32, &e));
    assert_true(hash_bytes(HASH_SHA256, slice_of(both, 64), answer + sizeof(answer) - 1 - 32, &e));
    if (!measure_with_peer(slice_of(answer, sizeof(answer) - 1), &m, &e))
        fail_msg("%s", err_text(&e));
    assert_int_equal(m.pcr, PCR);
    assert_int_equal(m.count, 1);
    assert_int_equal(m.bank[0], EV_BANK_SHA256);
    assert_memory_equal(m.digest[0], both + 32, 32);
    assert_memory_equal(m.value[0], answer + sizeof(answer) - 1 - 32, 32);
}

static void register_that_forgets_is_not_believed(void **state)
{
    static const struct slice zero = SLICE_LIT(READ_0);
    struct ev_measured m;
    struct err e = ERR_INIT;

    (void)state;
    assert_false(measure_with_peer(zero, &m, &e));
    assert_int_equal(e.kind, ERR_KIND_UNVERIFIED);
}

static void banks_that_come_one_by_one_are_all_read(void **state)
{
    static const enum ev_bank banks[] = { EV_BANK_SHA256, EV_BANK_SHA256 };
    static const struct slice one[] = { SLICE_LIT(READ_0), SLICE_LIT(REGISTER("\x00\x80\x00", ONE_32)) };
    uint8_t values[2][EV_DIGEST_MAX];
    struct ev_tpm *tpm;
    struct err e = ERR_INIT;
    int pair[2];

    (void)state;
    /* Each packet is one answer: the second waits until the first was read. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    for (size_t i = 0; i < ARRAY_LEN(one); i++)
        assert_int_equal(send(pair[0], one[i].at, one[i].len, 0), one[i].len);
    assert_true(ev_tpm_open_fd(pair[1], "packets", 60000, &tpm, &e));
    assert_true(ev_tpm_pcr_read(tpm, PCR, banks, ARRAY_LEN(banks), values, &e));
    assert_int_equal(values[0][31], 0);
    assert_int_equal(values[1][31], 1);
    ev_tpm_close(tpm);
    close(pair[0]);
}

/* The driver gives up at this read from now on (from 1), once. */
static int gives_up_at;

static ssize_t read_or_give_up(int fd, void *at, size_t len)
{
    if (gives_up_at > 0 && --gives_up_at == 0) {
        errno = ETIME;
        return -1;
    }
    return read(fd, at, len);
}

static struct driver_case {
    const char *name;
    int at;
    enum {
        OF_ZERO,
        OF_EXTENDED,
        OF_OK
    } answers[8]; /* what the TPM says, one behind another behind its banks */
    size_t count;
    enum err_kind want;
} drivers[] = {
    { "driver_gives_up_at_the_banks_they_are_asked_for_again",
      1,
      { OF_ZERO, OF_OK, OF_EXTENDED },
      3,
      ERR_KIND_NONE },
    { "driver_gives_up_at_a_register_it_is_read_again",
      2,
      { OF_ZERO, OF_OK, OF_EXTENDED },
      3,
      ERR_KIND_NONE },
    { "driver_gives_up_at_the_extend_which_was_done", 3, { OF_ZERO, OF_EXTENDED }, 2, ERR_KIND_NONE },
    { "driver_gives_up_at_the_extend_which_was_not_done",
      3,
      { OF_ZERO, OF_ZERO, OF_OK, OF_EXTENDED },
      4,
      ERR_KIND_NONE },
    { "driver_gives_up_at_the_read_behind_it", 4, { OF_ZERO, OF_OK, OF_EXTENDED }, 3, ERR_KIND_NONE },
    { "driver_gives_up_and_the_register_is_another", 3, { OF_EXTENDED, OF_ZERO }, 2, ERR_KIND_UNVERIFIED },
};

static void send_packet(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, 0), len);
}

static void driver_that_gives_up_is_asked_again(void **state)
{
    const struct driver_case *c = *state;
    uint8_t after[] = REGISTER("\x00\x80\x00", ZERO_32);
    uint8_t both[64] = { 0 };
    struct ev_measured m;
    struct ev_tpm *tpm;
    struct err e = ERR_INIT;
    int pair[2];

    assert_true(hash_bytes(HASH_SHA3_256, slice_of_str("{}"), both + 32, &e));
    assert_true(hash_bytes(HASH_SHA256, slice_of(both, 64), after + sizeof(after) - 1 - 32, &e));
    setenv("TSS2_LOG", "all+none", 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    send_packet(pair[0], BANKS, sizeof(BANKS) - 1);
    for (size_t i = 0; i < c->count; i++)
        switch (c->answers[i]) {
        case OF_ZERO: send_packet(pair[0], READ_0, sizeof(READ_0) - 1); break;
        case OF_EXTENDED: send_packet(pair[0], after, sizeof(after) - 1); break;
        case OF_OK: send_packet(pair[0], EXTENDED, sizeof(EXTENDED) - 1); break;
        }
    assert_true(ev_tpm_open_fd(pair[1], "driver", 60000, &tpm, &e));
    tpm->link.read = read_or_give_up;
    gives_up_at = c->at;
    assert_int_equal(ev_measure(tpm, PCR, slice_of_str("{}"), &m, &e), c->want == ERR_KIND_NONE);
    assert_int_equal(e.kind, c->want);
    assert_int_equal(gives_up_at, 0);
    ev_tpm_close(tpm);
    close(pair[0]);
}

static struct where_case {
    const char *name;
    const char *where;
    enum err_kind want;
    const char *want_text;
} wheres[] = {
    { "path_that_is_not_there", "/nowhere/tpm", ERR_KIND_MISSING,
      "TPM at /nowhere/tpm: look for it: No such" },
    { "path_of_a_file", "/etc/passwd", ERR_KIND_INVALID, "neither a device nor a socket" },
    { "path_of_a_folder", "/", ERR_KIND_INVALID, "neither a device nor a socket" },
    { "nothing", "", ERR_KIND_INVALID, "neither a path nor an address" },
    { "no_port", "127.0.0.1:", ERR_KIND_INVALID, "neither a path nor an address" },
    { "port_0", "127.0.0.1:0", ERR_KIND_INVALID, "neither a path nor an address" },
    { "name_for_an_address", "localhost:2321", ERR_KIND_INVALID, "neither a path nor an address" },
    { "long_name", "this.is.longer.than.any.address.can.be:2321", ERR_KIND_INVALID, "neither a path" },
};

static void place_is_refused(void **state)
{
    const struct where_case *c = *state;
    struct ev_tpm *tpm;
    struct err e = ERR_INIT;

    assert_false(ev_tpm_open(c->where, 60000, &tpm, &e));
    assert_int_equal(e.kind, c->want);
    if (!strstr(err_text(&e), c->want_text))
        fail_msg("'%s' does not hold '%s'", err_text(&e), c->want_text);
}

int main(void)
{
    struct CMUnitTest tests[64] = { 0 };
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, measure_is_refused);
    UNIT_ROWS(tests, count, reads, register_is_read);
    UNIT_ROWS(tests, count, drivers, driver_that_gives_up_is_asked_again);
    UNIT_ROWS(tests, count, wheres, place_is_refused);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(register_that_holds_what_follows_is_measured);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(banks_that_come_one_by_one_are_all_read);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(register_that_forgets_is_not_believed);
    return _cmocka_run_group_tests("evidence/tpm", tests, count, NULL, NULL);
}
