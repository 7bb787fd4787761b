/*
 * What the tests of the outbox share: a directory, a loop and an outbox in it.
 */
#ifndef UNIT_JOURNAL_OUTBOX_UNIT_H
#define UNIT_JOURNAL_OUTBOX_UNIT_H

#include "base/buf.h"
#include "journal_unit.h"

/* A test's directory, loop and the outbox in it. */
struct fixture {
    char dir[256];
    uv_loop_t loop;
    struct outbox_config cfg;
    struct outbox *o;
};

void fixture_open(struct fixture *f);
void fixture_reopen(struct fixture *f);
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* An empty directory again. */
void clear_dir(struct fixture *f);

/* Appends; its sequence number. */
uint64_t put(struct outbox *o, enum outbox_class cls, int level, const char *text);

/* Reads the next record into text; its sequence number, or 0 when there is none. */
uint64_t take(struct outbox *o, char text[4096]);

/* The next record is this one; there is none. */
void expect(struct outbox *o, const char *want);
void expect_end(struct outbox *o);

void ack(struct outbox *o, uint64_t seq);

/* A file of the outbox, whole. */
void read_file(const char *dir, const char *name, struct buf *ret);
void write_file(const char *dir, const char *name, struct slice bytes);

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
