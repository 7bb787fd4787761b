#include "scratch.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/stage.h"
#include "base/text.h"

/* FIPS 180-4 and FIPS 202 examples, and the million 'a' of both. */
static struct vector_case {
    const char *name;
    enum hash_alg alg;
    const char *text;
    size_t repeat;
    const char *want;
} vectors[] = {
    { "sha256_empty", HASH_SHA256, "", 1,
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { "sha256_abc", HASH_SHA256, "abc", 1,
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "sha256_million_a", HASH_SHA256, "a", 1000000,
      "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
    { "sha384_abc", HASH_SHA384, "abc", 1,
      "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7" },
    { "sha512_abc", HASH_SHA512, "abc", 1,
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d44"
      "23643ce80e2a9ac94fa54ca49f" },
    { "sha3_256_empty", HASH_SHA3_256, "", 1,
      "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a" },
    { "sha3_256_abc", HASH_SHA3_256, "abc", 1,
      "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532" },
    { "sha3_256_448_bits", HASH_SHA3_256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
      "41c0dba2a9d6240849100376a8235e2c82e1b9998a999e21db32dd97496d3376" },
    { "sha3_256_million_a", HASH_SHA3_256, "a", 1000000,
      "5c8875ae474a3634ba4fd55ec85bffd661f32aca75c6d699d0cdcb6c115891c1" },
    { "sha3_384_abc", HASH_SHA3_384, "abc", 1,
      "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25" },
    { "sha3_512_abc", HASH_SHA3_512, "abc", 1,
      "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e"
      "10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0" },
};

static void check_vector(void **state)
{
    const struct vector_case *c = *state;
    struct err e = ERR_INIT;
    CLEANUP(hash_done) struct hash *h = hash_new(c->alg, &e);
    uint8_t digest[HASH_LEN_MAX];
    char hex[HASH_LEN_MAX * 2 + 1];

    assert_non_null(h);
    for (size_t i = 0; i < c->repeat; i++)
        assert_true(hash_add(h, slice_of_str(c->text), &e));
    assert_true(hash_finish(h, digest, &e));
    hex_encode(slice_of(digest, hash_len(c->alg)), hex);
    assert_string_equal(hex, c->want);
    if (c->repeat == 1) {
        memset(digest, 0, sizeof(digest));
        assert_true(hash_bytes(c->alg, slice_of_str(c->text), digest, &e));
        hex_encode(slice_of(digest, hash_len(c->alg)), hex);
        assert_string_equal(hex, c->want);
    }
}

static void a_file_is_hashed_from_where_it_stands(void **state)
{
    static uint8_t text[700001]; /* more than two blocks */
    CLEANUP(fd_done) int fd = -1;
    struct err e = ERR_INIT;
    uint8_t seen[32];
    uint8_t want[32];
    uint64_t len = 0;

    (void)state;
    scratch_enter();
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 31 >> 3);
    scratch_write("f", slice_of(text, sizeof(text)), 0600);
    fd = open("f", O_RDONLY | O_CLOEXEC);
    assert_true(hash_fd(HASH_SHA3_256, fd, seen, &len, &e));
    assert_true(hash_bytes(HASH_SHA3_256, slice_of(text, sizeof(text)), want, &e));
    assert_memory_equal(seen, want, 32);
    assert_int_equal(len, sizeof(text));
    assert_int_equal(lseek(fd, 1, SEEK_SET), 1);
    assert_true(hash_fd(HASH_SHA3_256, fd, seen, NULL, &e));
    assert_true(hash_bytes(HASH_SHA3_256, slice_of(text + 1, sizeof(text) - 1), want, &e));
    assert_memory_equal(seen, want, 32);
    scratch_leave();
}

static void a_directory_can_t_be_hashed(void **state)
{
    CLEANUP(fd_done) int fd = open("/", O_RDONLY | O_CLOEXEC);
    struct err e = ERR_INIT;
    uint8_t seen[32];

    (void)state;
    assert_false(hash_fd(HASH_SHA256, fd, seen, NULL, &e));
    assert_string_equal(err_text(&e), "read: Is a directory");
}

static void nothing_is_freed(void **state)
{
    struct hash *h = NULL;

    (void)state;
    hash_free(NULL);
    hash_done(&h);
}

/* ---- clock ---- */

static uint64_t fixed_mono(void *ctx)
{
    return *(const uint64_t *)ctx;
}

static int64_t fixed_wall(void *ctx)
{
    return -(int64_t) * (const uint64_t *)ctx;
}

static void a_test_can_own_the_clock(void **state)
{
    uint64_t now = 42;
    const struct clock c = { fixed_mono, fixed_wall, &now };

    (void)state;
    assert_int_equal(clock_mono_ms(&c), 42);
    assert_int_equal(clock_wall_ns(&c), -42);
}

static void the_system_clock_is_the_system_s(void **state)
{
    uint64_t before = clock_mono_ms(clock_system());
    int64_t wall = clock_wall_ns(clock_system());

    (void)state;
    assert_true(clock_mono_ms(clock_system()) >= before);
    assert_in_range(wall / 1000000000, time(NULL) - 5, time(NULL) + 5);
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(a_file_is_hashed_from_where_it_stands),
        cmocka_unit_test(a_directory_can_t_be_hashed),
        cmocka_unit_test(nothing_is_freed),
        cmocka_unit_test(a_test_can_own_the_clock),
        cmocka_unit_test(the_system_clock_is_the_system_s),
    };
    static struct CMUnitTest tests[32];
    size_t count = 0;

    UNIT_ROWS(tests, count, vectors, check_vector);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("hash and clock", tests, count, NULL, NULL);
}
