/*
 * A manifest with real keys, for tests of who may do what.
 *
 * Datasets 0 and 2 belong to provider A, dataset 1 to provider B. Dataset 0 is
 * "a.csv", 1 is "b.csv", 2 has no name. Hash bytes are 10, 11, 12; the
 * algorithm's are 1.
 */
#ifndef UNIT_AGENT_FIXTURE_H
#define UNIT_AGENT_FIXTURE_H

#include "unit/base/unit.h"

#include "base/mem.h"
#include "base/text.h"
#include "manifest/manifest.h"

struct people {
    struct key *algorithm, *a, *b, *consumer, *stranger;
    struct mf *mf;
};

static struct key *people_public(const struct key *k)
{
    CLEANUP(buf_done) struct buf der = BUF_INIT(4096);
    struct err e = ERR_INIT;
    struct key *public = NULL;

    if (key_public_der(k, &der, &e))
    public = key_public_from_der(buf_slice(&der), &e);
    assert_non_null(public);
    return public;
}

static void people_init(struct people *p)
{
    static const char *const names[] = { "a.csv", "b.csv", "" };
    struct err e = ERR_INIT;

    p->algorithm = key_generate(KEY_ECDSA, &e);
    p->a = key_generate(KEY_ED25519, &e);
    p->b = key_generate(KEY_ECDSA, &e);
    p->consumer = key_generate(KEY_ED25519, &e);
    p->stranger = key_generate(KEY_ED25519, &e);
    p->mf = mem_new(sizeof(*p->mf), &e);
    p->mf->id = mem_dup_str("17", &e);
    p->mf->algo_key = people_public(p->algorithm);
    memset(p->mf->algo_hash, 1, sizeof(p->mf->algo_hash));
    p->mf->dataset_count = ARRAY_LEN(names);
    p->mf->datasets = mem_new_array(ARRAY_LEN(names), sizeof(*p->mf->datasets), &e);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        p->mf->datasets[i].filename = mem_dup_str(names[i], &e);
        p->mf->datasets[i].user_key = people_public(i == 1 ? p->b : p->a);
        memset(p->mf->datasets[i].hash, (int)(10 + i), HASH_SHA3_256_LEN);
    }
    p->mf->consumer_keys = mem_new_array(1, sizeof(*p->mf->consumer_keys), &e);
    p->mf->consumer_count = 1;
    p->mf->consumer_keys[0] = people_public(p->consumer);
}

static void people_done(struct people *p)
{
    mf_free(p->mf);
    key_free(p->algorithm);
    key_free(p->a);
    key_free(p->b);
    key_free(p->consumer);
    key_free(p->stranger);
}

#endif
