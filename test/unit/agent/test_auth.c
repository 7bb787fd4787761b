#include "unit/base/unit.h"

#include "agent/auth.h"
#include "agent_fixture.h"

#define NOW ((int64_t)1700000000)

enum who { NOBODY, ALGORITHM, PROVIDER_A, PROVIDER_B, CONSUMER, STRANGER };

static const struct key *key_of(const struct people *p, enum who who)
{
    switch (who) {
    case NOBODY: return NULL;
    case ALGORITHM: return p->algorithm;
    case PROVIDER_A: return p->a;
    case PROVIDER_B: return p->b;
    case CONSUMER: return p->consumer;
    case STRANGER: return p->stranger;
    }
    return NULL;
}

/* A proof with the bytes it borrows. */
struct proof_bytes {
    struct auth_proof proof;
    struct buf plain, bound, hash, expiry;
};

static void sign_base64(const struct key *k, struct slice text, struct buf *out)
{
    CLEANUP(buf_done) struct buf signature = BUF_INIT(4096);
    struct err e = ERR_INIT;

    assert_true(key_sign(k, text, &signature, &e));
    assert_true(base64_encode(buf_slice(&signature), out, &e));
}

static struct auth_value value(const struct buf *b)
{
    return (struct auth_value){ b->len > 0, buf_slice(b) };
}

static void proof_plain(struct proof_bytes *pb, const struct key *k, const char *text)
{
    sign_base64(k, slice_of_str(text), &pb->plain);
    pb->proof.plain = value(&pb->plain);
}

/* What is signed and what is said may differ: said_hash is a byte, -1 for none. */
static void proof_bound(struct proof_bytes *pb, const struct key *k, const struct sign_bound *what,
                        int said_hash, const char *said_expiry)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    uint8_t hash[HASH_SHA3_256_LEN];
    char hex[2 * HASH_SHA3_256_LEN + 1];
    struct err e = ERR_INIT;

    assert_true(sign_bound_text(what, &text, &e));
    sign_base64(k, buf_slice(&text), &pb->bound);
    if (said_hash >= 0) {
        memset(hash, said_hash, sizeof(hash));
        hex_encode(slice_of(hash, sizeof(hash)), hex);
        assert_true(buf_append_str(&pb->hash, hex, &e));
    }
    assert_true(buf_append_str(&pb->expiry, said_expiry, &e));
    pb->proof.bound = value(&pb->bound);
    pb->proof.hash = value(&pb->hash);
    pb->proof.expiry = value(&pb->expiry);
}

static void proof_init(struct proof_bytes *pb)
{
    *pb = (struct proof_bytes){
        .plain = BUF_INIT(4096), .bound = BUF_INIT(4096), .hash = BUF_INIT(4096), .expiry = BUF_INIT(4096)
    };
}

static void proof_done(struct proof_bytes *pb)
{
    buf_done(&pb->plain);
    buf_done(&pb->bound);
    buf_done(&pb->hash);
    buf_done(&pb->expiry);
}

/* ------------------------------------------------------------------ the plain form */

static struct plain_case {
    const char *name;
    enum who who;
    const char *text;
    enum auth_role role;
    bool require_bound;
    const char *want; /* NULL: granted; else the text begins so */
    size_t want_key;
} plain_cases[] = {
    { "plain_algorithm", ALGORITHM, "algorithm-provider", AUTH_ALGORITHM, false, NULL, 0 },
    { "plain_data_of_a", PROVIDER_A, "data-provider", AUTH_DATA, false, NULL, 0 },
    { "plain_data_of_b", PROVIDER_B, "data-provider", AUTH_DATA, false, NULL, 1 },
    { "plain_consumer", CONSUMER, "consumer", AUTH_CONSUMER, false, NULL, 0 },
    { "AG-3_plain_of_another_role", ALGORITHM, "data-provider", AUTH_ALGORITHM, false,
      "signature verification failed", 0 },
    { "AG-3_plain_with_another_users_key", PROVIDER_A, "algorithm-provider", AUTH_ALGORITHM, false,
      "signature verification failed", 0 },
    { "AG-5_plain_of_undeclared_consumer", STRANGER, "consumer", AUTH_CONSUMER, false,
      "signature verification failed", 0 },
    { "plain_of_stranger_as_provider", STRANGER, "data-provider", AUTH_DATA, false,
      "signature verification failed", 0 },
    { "AG-3_plain_when_bound_is_wanted", ALGORITHM, "algorithm-provider", AUTH_ALGORITHM, true,
      "signature verification failed: this agent wants a bound signature", 0 },
    { "no_signature", NOBODY, NULL, AUTH_ALGORITHM, false,
      "rpc error: code = Unauthenticated desc = invalid metadata : invalid metadata", 0 },
    { "no_signature_when_bound_is_wanted", NOBODY, NULL, AUTH_CONSUMER, true,
      "rpc error: code = Unauthenticated desc = invalid metadata : invalid metadata", 0 },
};

static void check_plain(void **state)
{
    const struct plain_case *t = *state;
    struct rpc_status status = { RPC_OK, "" };
    struct auth_grant grant = { .key = 99 };
    struct proof_bytes pb;
    struct err e = ERR_INIT;
    struct people p;
    struct auth *a;
    bool ok;

    people_init(&p);
    proof_init(&pb);
    if (t->who != NOBODY)
        proof_plain(&pb, key_of(&p, t->who), t->text);
    a = auth_new(p.mf, t->require_bound, &e);
    assert_non_null(a);
    ok = auth_check(a, t->role, &pb.proof, NOW, &grant, &status);
    assert_int_equal(ok, t->want == NULL);
    assert_int_equal(status.code, ok ? RPC_OK : RPC_UNAUTHENTICATED);
    assert_int_equal(grant.key, ok ? t->want_key : 99);
    assert_false(grant.bound);
    if (t->want && strncmp(status.message, t->want, strlen(t->want)) != 0)
        fail_msg("'%s'", status.message);
    auth_free(a);
    proof_done(&pb);
    people_done(&p);
}

static void plain_twice_or_not_base64_is_refused(void **state)
{
    struct rpc_status status = { RPC_OK, "" };
    struct auth_grant grant;
    struct proof_bytes pb;
    struct err e = ERR_INIT;
    struct people p;
    struct auth *a;

    (void)state;
    people_init(&p);
    proof_init(&pb);
    proof_plain(&pb, p.algorithm, "algorithm-provider");
    a = auth_new(p.mf, false, &e);
    pb.proof.plain.count = 2;
    assert_false(auth_check(a, AUTH_ALGORITHM, &pb.proof, NOW, &grant, &status));
    assert_string_equal(status.message,
                        "rpc error: code = Unauthenticated desc = invalid metadata : invalid metadata");
    pb.proof.plain = (struct auth_value){ 1, slice_of_str("###") };
    assert_false(auth_check(a, AUTH_ALGORITHM, &pb.proof, NOW, &grant, &status));
    assert_string_equal(status.message, "signature verification failed");
    auth_free(a);
    proof_done(&pb);
    people_done(&p);
}

/* ------------------------------------------------------------------ the bound form */

static struct bound_case {
    const char *name;
    enum who who;
    enum auth_role role;
    const char *id;       /* signed */
    const char *as_role;  /* signed */
    int hash;             /* signed; -1: none */
    const char *filename; /* signed */
    int64_t expiry;       /* signed */
    int said_hash;
    const char *said_expiry;
    const char *sent_as; /* the upload's filename */
    const char *want;    /* NULL: granted */
} bound_cases[] = {
    { "bound_algorithm", ALGORITHM, AUTH_ALGORITHM, "17", "algorithm-provider", 1, "", NOW + 60, 1,
      "1700000060", "", NULL },
    { "bound_data_of_a", PROVIDER_A, AUTH_DATA, "17", "data-provider", 10, "a.csv", NOW + 60, 10,
      "1700000060", "a.csv", NULL },
    { "bound_data_without_name", PROVIDER_A, AUTH_DATA, "17", "data-provider", 12, "", NOW + 60, 12,
      "1700000060", "", NULL },
    { "bound_consumer", CONSUMER, AUTH_CONSUMER, "17", "consumer", -1, "", NOW + 60, -1, "1700000060", "",
      NULL },
    { "bound_until_the_last_day", CONSUMER, AUTH_CONSUMER, "17", "consumer", -1, "", NOW + 86400, -1,
      "1700086400", "", NULL },
    { "AG-3_bound_to_another_computation", ALGORITHM, AUTH_ALGORITHM, "18", "algorithm-provider", 1, "",
      NOW + 60, 1, "1700000060", "", "does not hold" },
    { "AG-3_bound_to_another_role", ALGORITHM, AUTH_ALGORITHM, "17", "consumer", 1, "", NOW + 60, 1,
      "1700000060", "", "does not hold" },
    { "AG-3_bound_to_another_content", PROVIDER_A, AUTH_DATA, "17", "data-provider", 12, "a.csv", NOW + 60,
      10, "1700000060", "a.csv", "does not hold" },
    { "AG-3_bound_to_another_name", PROVIDER_A, AUTH_DATA, "17", "data-provider", 10, "a.csv", NOW + 60, 10,
      "1700000060", "b.csv", "does not hold" },
    { "AG-3_AG-4_bound_to_slot_of_another", PROVIDER_A, AUTH_DATA, "17", "data-provider", 11, "b.csv",
      NOW + 60, 11, "1700000060", "b.csv", "does not hold" },
    { "AG-3_bound_with_another_expiry", CONSUMER, AUTH_CONSUMER, "17", "consumer", -1, "", NOW + 60, -1,
      "1700000061", "", "does not hold" },
    { "AG-3_bound_by_a_stranger", STRANGER, AUTH_CONSUMER, "17", "consumer", -1, "", NOW + 60, -1,
      "1700000060", "", "does not hold" },
    { "bound_expired", CONSUMER, AUTH_CONSUMER, "17", "consumer", -1, "", NOW, -1, "1700000000", "",
      "has expired, by the clock of this agent" },
    { "bound_for_too_long", CONSUMER, AUTH_CONSUMER, "17", "consumer", -1, "", NOW + 86401, -1, "1700086401",
      "", "more than a day, by the clock of this agent" },
    { "bound_expiry_not_a_number", CONSUMER, AUTH_CONSUMER, "17", "consumer", -1, "", NOW + 60, -1, "soon",
      "", "one expiry in seconds" },
    { "bound_expiry_out_of_range", CONSUMER, AUTH_CONSUMER, "17", "consumer", -1, "", NOW + 60, -1,
      "18446744073709551615", "", "one expiry in seconds" },
    { "bound_algorithm_without_hash", ALGORITHM, AUTH_ALGORITHM, "17", "algorithm-provider", -1, "", NOW + 60,
      -1, "1700000060", "", "one hash of 64 hex digits" },
    { "bound_algorithm_of_another_hash", ALGORITHM, AUTH_ALGORITHM, "17", "algorithm-provider", 2, "",
      NOW + 60, 2, "1700000060", "", "another algorithm" },
    { "bound_data_nobody_declared", PROVIDER_A, AUTH_DATA, "17", "data-provider", 77, "a.csv", NOW + 60, 77,
      "1700000060", "a.csv", "does not name" },
    { "bound_consumer_with_hash", CONSUMER, AUTH_CONSUMER, "17", "consumer", -1, "", NOW + 60, 1,
      "1700000060", "", "has no hash" },
};

static void check_bound(void **state)
{
    const struct bound_case *t = *state;
    struct rpc_status status = { RPC_OK, "" };
    uint8_t hash[HASH_SHA3_256_LEN];
    struct auth_grant grant = { 0 };
    struct proof_bytes pb;
    struct err e = ERR_INIT;
    struct people p;
    struct auth *a;
    bool ok;

    people_init(&p);
    proof_init(&pb);
    memset(hash, t->hash, sizeof(hash));
    const struct sign_bound what = { t->id, t->as_role, t->hash < 0 ? NULL : hash, slice_of_str(t->filename),
                                     t->expiry };
    proof_bound(&pb, key_of(&p, t->who), &what, t->said_hash, t->said_expiry);
    a = auth_new(p.mf, true, &e);
    assert_non_null(a);
    ok = auth_check(a, t->role, &pb.proof, NOW, &grant, &status);
    if (ok && t->role == AUTH_DATA)
        assert_true(grant.wants_filename);
    ok = ok && auth_grant_filename(a, &pb.proof, slice_of_str(t->sent_as), &grant, &status);
    assert_int_equal(ok, t->want == NULL);
    assert_int_equal(status.code, ok ? RPC_OK : RPC_UNAUTHENTICATED);
    if (t->want && (strncmp(status.message, "signature verification failed: ", 31) != 0 ||
                    !strstr(status.message, t->want)))
        fail_msg("'%s'", status.message);
    if (ok) {
        assert_true(grant.bound);
        assert_false(grant.wants_filename);
    }
    auth_free(a);
    proof_done(&pb);
    people_done(&p);
}

static void a_broken_bound_signature_does_not_fall_back_to_the_plain_one(void **state)
{
    const struct sign_bound what = { "18", SIGN_ROLE_CONSUMER, NULL, SLICE_EMPTY, NOW + 60 };
    struct rpc_status status = { RPC_OK, "" };
    struct auth_grant grant;
    struct proof_bytes pb;
    struct err e = ERR_INIT;
    struct people p;
    struct auth *a;

    (void)state;
    people_init(&p);
    proof_init(&pb);
    proof_plain(&pb, p.consumer, SIGN_ROLE_CONSUMER);
    proof_bound(&pb, p.consumer, &what, -1, "1700000060");
    a = auth_new(p.mf, false, &e);
    assert_false(auth_check(a, AUTH_CONSUMER, &pb.proof, NOW, &grant, &status));
    assert_int_equal(status.code, RPC_UNAUTHENTICATED);
    auth_free(a);
    proof_done(&pb);
    people_done(&p);
}

static void datasets_of_one_key_have_one_owner(void **state)
{
    struct err e = ERR_INIT;
    struct people p;
    struct auth *a;

    (void)state;
    people_init(&p);
    a = auth_new(p.mf, false, &e);
    assert_int_equal(auth_owner(a, 0), 0);
    assert_int_equal(auth_owner(a, 1), 1);
    assert_int_equal(auth_owner(a, 2), 0);
    assert_true(auth_take_warning(a));
    assert_false(auth_take_warning(a));
    auth_free(a);
    people_done(&p);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(plain_cases) + ARRAY_LEN(bound_cases) + 3];
    size_t count = 0;

    UNIT_ROWS(tests, count, plain_cases, check_plain);
    UNIT_ROWS(tests, count, bound_cases, check_bound);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(plain_twice_or_not_base64_is_refused);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(
        a_broken_bound_signature_does_not_fall_back_to_the_plain_one);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(datasets_of_one_key_have_one_owner);
    return _cmocka_run_group_tests("agent/auth", tests, count, NULL, NULL);
}
