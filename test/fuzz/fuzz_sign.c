/*
 * Metadata of a user, with its signatures. The input is lines: role, plain,
 * bound, hash, expiry, filename; a first byte '+' repeats a value, '-' leaves
 * it out. Nobody holds the manifest's keys, so nothing may be granted.
 */
#include <assert.h>

#include "agent/auth.h"
#include "base/cursor.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct key *some_key(enum key_type type)
{
    CLEANUP(key_done) struct key *k = NULL;
    CLEANUP(buf_done) struct buf der = BUF_INIT(4096);
    struct err e = ERR_INIT;
    bool ok;

    k = key_generate(type, &e);
    ok = k && key_public_der(k, &der, &e);
    assert(ok);
    return key_public_from_der(buf_slice(&der), &e);
}

/* Lives until the process ends. */
static struct auth *some_auth(void)
{
    static struct key *consumers[2];
    static struct mf_dataset datasets[3];
    static char name[] = "a.csv", id[] = "17";
    static struct mf m = { .id = id,
                           .datasets = datasets,
                           .dataset_count = ARRAY_LEN(datasets),
                           .consumer_keys = consumers,
                           .consumer_count = ARRAY_LEN(consumers) };
    static struct auth *a;
    struct err e = ERR_INIT;

    if (a)
        return a;
    m.algo_key = some_key(KEY_ECDSA);
    for (size_t i = 0; i < ARRAY_LEN(consumers); i++)
        consumers[i] = some_key(KEY_ED25519);
    for (size_t i = 0; i < ARRAY_LEN(datasets); i++) {
        datasets[i].user_key = some_key(i ? KEY_ECDSA : KEY_ED25519);
        datasets[i].filename = name;
        memset(datasets[i].hash, (int)i, sizeof(datasets[i].hash));
    }
    a = auth_new(&m, false, &e);
    assert(a);
    return a;
}

static struct slice line(struct cursor *in)
{
    struct slice s;

    if (!cursor_until(in, '\n', &s)) {
        s = in->left;
        in->left = SLICE_EMPTY;
    }
    return s;
}

static struct auth_value value(struct cursor *in)
{
    struct slice s = line(in);

    if (slice_starts(s, "-"))
        return (struct auth_value){ 0, SLICE_EMPTY };
    return (struct auth_value){ slice_starts(s, "+") ? 2 : 1, slice_starts(s, "+") ? slice_after(s, 1) : s };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor in = cursor_of(slice_of(data, size));
    const struct auth *a = some_auth();
    struct rpc_status status = { RPC_OK, "" };
    struct auth_grant grant;
    struct slice role = line(&in);
    struct auth_proof proof;

    proof.plain = value(&in);
    proof.bound = value(&in);
    proof.hash = value(&in);
    proof.expiry = value(&in);
    if (auth_check(a, (enum auth_role)(role.len % 3), &proof, 1700000000, &grant, &status)) {
        assert(grant.wants_filename);
        assert(!auth_grant_filename(a, &proof, line(&in), &grant, &status));
    }
    assert(status.code == RPC_UNAUTHENTICATED);
    return 0;
}
