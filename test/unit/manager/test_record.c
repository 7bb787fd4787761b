#include "unit/base/unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/json.h"
#include "manager/record.h"
#include "unit/base/scratch.h"

#define ID "6f1c0f0e-0000-4000-8000-000000000001"
#define START "6f1c0f0e-0000-4000-8000-000000000002"
#define BOOT "0b0b0b0b-0000-4000-8000-000000000003"

static const struct mgr_record sample = {
    .id = ID,
    .start_id = START,
    .dir = "/run/cocos/vms/" ID,
    .disk = "",
    .agent_port = 6100,
    .qemu = { 4000, 123456 },
    .swtpm = { 4001, 123450 },
    .ttl_until_mono_ms = 77,
    .created_mono_ms = 55,
};

/* One record, of which single members are changed by JSON text; NULL takes the member away. */
static const struct change {
    const char *name;
    const char *member;
    const char *value;
    const char *want; /* NULL: trusted */
} changes[] = {
    { "MG_14_whole_record_is_trusted", "disk", "\"/run/d\"", NULL },
    { "MG_14_no_tpm_is_trusted", "swtpm_pid", "0", NULL },
    { "MG_14_older_version", "version", "0", "version 0, 1 is wanted" },
    { "MG_14_newer_version", "version", "2", "version 2, 1 is wanted" },
    { "MG_14_version_as_text", "version", "\"1\"", "version: a number from 0 to 2147483647 is wanted" },
    { "MG_14_version_missing", "version", NULL, "version: a number" },
    { "MG_14_other_boot", "boot_id", "\"" ID "\"", "boot_id is '" ID "', '" BOOT "' is wanted" },
    { "MG_14_boot_missing", "boot_id", NULL, "boot_id is ''" },
    { "MG_14_wrong_id", "id", "\"" START "\"", "id is '" START "', '" ID "' is wanted" },
    { "MG_14_id_missing", "id", NULL, "id is ''" },
    { "MG_14_start_id_missing", "start_id", NULL, "start_id: a text below 37 bytes is wanted" },
    { "MG_14_start_id_not_a_uuid", "start_id", "\"x,file=/etc/shadow\"", "id '" ID "', start_id 'x,file" },
    { "MG_14_start_id_too_long", "start_id", "\"" START "0\"", "start_id: a text below 37 bytes" },
    { "MG_14_dir_missing", "dir", NULL, "dir: a text below 256 bytes is wanted" },
    { "MG_14_dir_of_another", "dir", "\"/etc\"", "dir '/etc' is not this VM's" },
    { "MG_14_dir_not_absolute", "dir", "\"vms/" ID "\"", "dir 'vms/" ID "' is not this VM's" },
    { "MG_14_dir_ends_alike", "dir", "\"/run/vms/x" ID "\"", "dir '/run/vms/x" ID "' is not" },
    { "MG_14_disk_missing", "disk", NULL, "disk: a text" },
    { "MG_14_port_missing", "agent_port", NULL, "agent_port: a number from 0 to 65535" },
    { "MG_14_port_too_large", "agent_port", "65536", "agent_port: a number from 0 to 65535" },
    { "MG_14_port_zero", "agent_port", "0", "agent_port: a port is wanted" },
    { "MG_14_qemu_missing", "qemu_pid", NULL, "qemu_pid: a number" },
    { "MG_14_qemu_is_init", "qemu_pid", "1", "qemu_pid 1, swtpm_pid 4001: processes are wanted" },
    { "MG_14_qemu_is_a_group", "qemu_pid", "-1", "qemu_pid: a number" },
    { "MG_14_qemu_above_pids", "qemu_pid", "4294967296", "qemu_pid: a number" },
    { "MG_14_start_missing", "qemu_start", NULL, "qemu_start: a number" },
    { "MG_14_start_a_fraction", "qemu_start", "1.5", "qemu_start: a number" },
    { "MG_14_swtpm_missing", "swtpm_pid", NULL, "swtpm_pid: a number" },
    { "MG_14_swtpm_is_init", "swtpm_pid", "1", "qemu_pid 4000, swtpm_pid 1: processes are wanted" },
    { "MG_14_ttl_missing", "ttl_until_mono_ms", NULL, "ttl_until_mono_ms: a number" },
    { "MG_14_created_missing", "created_mono_ms", NULL, "created_mono_ms: a number" },
};

static const char whole[] =
    "{\"version\":1,\"boot_id\":\"" BOOT "\",\"id\":\"" ID "\",\"start_id\":\"" START
    "\",\"dir\":\"/run/cocos/vms/" ID "\",\"disk\":\"\",\"agent_port\":6100,"
    "\"qemu_pid\":4000,\"qemu_start\":123456,\"swtpm_pid\":4001,\"swtpm_start\":123450,"
    "\"ttl_until_mono_ms\":77,\"created_mono_ms\":55}";

static void check_change(void **state)
{
    const struct change *c = *state;
    struct err e = ERR_INIT;
    CLEANUP(json_done) json_t *root = json_read(slice_of_str(whole), &e);
    struct mgr_record got = { .agent_port = 9 };

    assert_non_null(root);
    if (c->value)
        assert_int_equal(json_object_set_new(root, c->member, json_loads(c->value, JSON_DECODE_ANY, NULL)),
                         0);
    else
        assert_int_equal(json_object_del(root, c->member), 0);

    char *text = json_dumps(root, 0);
    bool ok = mgr_record_read(slice_of_str(text), ID, BOOT, &got, &e);

    free(text);
    assert_int_equal(ok, c->want == NULL);
    if (ok) {
        assert_int_equal(got.qemu.pid, 4000);
        assert_int_equal(got.agent_port, 6100);
        return;
    }
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_memory_equal(err_text(&e), c->want, strlen(c->want));
    assert_int_equal(got.agent_port, 9);
}

static void MG_14_cut_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        struct err e = ERR_INIT;
        struct mgr_record got;

        assert_false(mgr_record_read(slice_of(whole, len), ID, BOOT, &got, &e));
        assert_int_not_equal(e.kind, ERR_KIND_NONE);
    }
}

struct seen {
    struct mgr_record record;
    unsigned trusted;
    unsigned refused;
    char names[512];
};

static void note_trusted(const struct mgr_record *r, void *ctx)
{
    struct seen *s = ctx;

    s->record = *r;
    s->trusted++;
}

static void note_refused(const char *name, const struct err *why, void *ctx)
{
    struct seen *s = ctx;
    size_t used = strlen(s->names);

    assert_int_not_equal(why->kind, ERR_KIND_NONE);
    snprintf(s->names + used, sizeof(s->names) - used, "%s ", name);
    s->refused++;
}

static void what_is_written_is_read_and_removed(void **state)
{
    struct seen seen = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    assert_true(mgr_record_write(scratch_fd(), &sample, &e));
    assert_true(mgr_record_write(scratch_fd(), &sample, &e)); /* replaces itself */
    assert_int_equal(scratch_count("."), 1);
    assert_int_equal(scratch_sh("test $(stat -c %a *.json) = 600"), 0);
    assert_true(mgr_record_all(scratch_fd(), note_trusted, note_refused, &seen, &e));
    assert_int_equal(seen.trusted, 1);
    assert_int_equal(seen.refused, 0);
    assert_memory_equal(&seen.record, &sample, sizeof(sample));
    assert_true(mgr_record_remove(scratch_fd(), ID, &e));
    assert_int_equal(scratch_count("."), 0);
    assert_true(mgr_record_remove(scratch_fd(), ID, &e)); /* gone already */
}

static void MG_14_files_that_are_not_trusted_are_removed_the_others_stay(void **state)
{
    struct seen seen = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    assert_true(mgr_record_write(scratch_fd(), &sample, &e));
    scratch_write(START ".json", slice_of_str("{\"version\":1"), 0600); /* truncated    */
    scratch_write(".json", slice_of_str("{}"), 0600);
    scratch_write("no-uuid-but-a-name-longer-than-any-of-those.json", slice_of_str("{}"), 0600);
    assert_int_equal(symlink(ID ".json", BOOT ".json"), 0);
    scratch_write("kvm-probe.json", slice_of_str("{}"), 0600);
    scratch_write("notes.txt", slice_of_str("{}"), 0600);
    assert_true(mgr_record_all(scratch_fd(), note_trusted, note_refused, &seen, &e));
    assert_int_equal(seen.trusted, 1);
    assert_int_equal(seen.refused, 4);
    assert_int_equal(scratch_count("."), 3);
    assert_true(scratch_has(ID ".json") && scratch_has("kvm-probe.json") && scratch_has("notes.txt"));
}

static void MG_14_record_of_another_boot_is_removed(void **state)
{
    struct seen seen = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    scratch_write(ID ".json", slice_of_str(whole), 0600); /* whole, but BOOT is not this boot */
    assert_true(mgr_record_all(scratch_fd(), note_trusted, note_refused, &seen, &e));
    assert_int_equal(seen.trusted, 0);
    assert_string_equal(seen.names, ID ".json ");
    assert_int_equal(scratch_count("."), 0);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(changes) + 4] = {
        cmocka_unit_test(MG_14_cut_anywhere_is_refused),
        cmocka_unit_test_setup_teardown(what_is_written_is_read_and_removed, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(MG_14_files_that_are_not_trusted_are_removed_the_others_stay,
                                        scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(MG_14_record_of_another_boot_is_removed, scratch_setup,
                                        scratch_teardown),
    };

    for (size_t i = 0; i < ARRAY_LEN(changes); i++)
        tests[4 + i] = (struct CMUnitTest){ changes[i].name, check_change, NULL, NULL,
                                            (void *)(uintptr_t)&changes[i] };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
