#include "unit/base/unit.h"

#include "manifest/manifest.h"
#include "proto/pb.h"

#define ZEROS "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]"
#define HEX_ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

/* The sheet's example, made by Go's encoder (its hash there shortened). */
#define SHEET_EXAMPLE                                                                        \
    "{\"id\":\"1\",\"name\":\"n\\u003c\\u0026\\u003e\",\"datasets\":[{\"hash\":" ZEROS       \
    ",\"user_key\":\"AQ==\",\"filename\":\"d.csv\",\"source\":{\"url\":\"u\"},\"kbs\":{}}]," \
    "\"algorithm\":{\"hash\":" ZEROS ",\"user_key\":\"Ag==\",\"algo_args\":[\"a\"]},"        \
    "\"result_consumers\":[{\"user_key\":\"Aw==\"}]}"

static struct read_case {
    const char *name;
    const char *json;
    const char *want; /* written again; NULL: refused */
    const char *why;  /* part of the refusal, or NULL */
} cases[] = {
    { "sheet_example_comes_back", SHEET_EXAMPLE, SHEET_EXAMPLE, NULL },
    { "empty_object_comes_back", "{}", "{}", NULL },
    { "all_members_come_back_in_order",
      "{ \"result_consumers\": [], \"algorithm\": {\"kbs\": {\"enabled\": true, \"url\": \"k\"}, "
      "\"algo_type\": \"bin\", \"algo_args\": [\"x\", \"\"], \"source\": {\"encrypted\": true, "
      "\"kbs_resource_path\": \"p\", \"url\": \"u\", \"type\": \"s3\"}, \"hash\": \"" HEX_ZEROS "\"},"
      "\"description\": \"d\", \"name\": \"n\", \"id\": \"i\", \"datasets\": [{\"decompress\": true, "
      "\"hash\": \"" HEX_ZEROS "\"}, {\"hash\": " ZEROS ", \"decompress\": false}]}",
      "{\"id\":\"i\",\"name\":\"n\",\"description\":\"d\",\"datasets\":[{\"hash\":" ZEROS
      ",\"decompress\":true},{\"hash\":" ZEROS "}],\"algorithm\":{\"hash\":" ZEROS
      ",\"source\":{\"type\":\"s3\",\"url\":\"u\",\"kbs_resource_path\":\"p\",\"encrypted\":true},"
      "\"algo_type\":\"bin\",\"algo_args\":[\"x\",\"\"],\"kbs\":{\"url\":\"k\",\"enabled\":true}}}",
      NULL },
    { "escapes_are_those_of_go",
      "{\"name\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f<>&\\u2028\\u2029\\u00e9\\ud83d\\ude00\"}",
      "{\"name\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\\u003c\\u003e\\u0026\\u2028\\u2029"
      "\xc3\xa9\xf0\x9f\x98\x80\"}",
      NULL },
    { "agent_config_and_kbs_are_read_and_not_measured",
      "{\"id\":\"1\",\"agent_config\":{\"port\":\"7002\",\"attested_tls\":true},\"kbs\":{\"url\":\"k\"}}",
      "{\"id\":\"1\"}", NULL },
    { "PB-6_member_twice", "{\"id\":\"1\",\"id\":\"2\"}", NULL, NULL },
    { "PB-6_trailing_bytes", "{} x", NULL, NULL },
    { "PB-6_byte_order_mark", "\xef\xbb\xbf{}", NULL, NULL },
    { "PB-6_nan", "{\"id\":NaN}", NULL, NULL },
    { "PB-6_number_out_of_range", "{\"datasets\":[{\"hash\":[1e400]}]}", NULL, NULL },
    { "empty_text", "", NULL, NULL },
    { "not_an_object", "[]", NULL, "an object is wanted" },
    { "unknown_member", "{\"ids\":\"1\"}", NULL, "unknown member 'ids'" },
    { "unknown_member_below", "{\"algorithm\":{\"x\":1}}", NULL, "algorithm: unknown member 'x'" },
    { "wire_name_of_key_is_unknown", "{\"algorithm\":{\"userKey\":\"\"}}", NULL, "unknown member" },
    { "id_not_text", "{\"id\":1}", NULL, "id: a string is wanted" },
    { "null_is_not_text", "{\"id\":null}", NULL, "id: a string is wanted" },
    { "bool_not_bool", "{\"datasets\":[{\"decompress\":1}]}", NULL, "true or false is wanted" },
    { "list_not_list", "{\"datasets\":{}}", NULL, "datasets: a list is wanted" },
    { "hash_of_31_numbers", "{\"algorithm\":{\"hash\":[1,2]}}", NULL, "2 numbers, 32 are wanted" },
    { "hash_number_256",
      "{\"algorithm\":{\"hash\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,256]}}", NULL,
      "number 31: 0 to 255 is wanted" },
    { "hash_number_real",
      "{\"algorithm\":{\"hash\":[0.5,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}}", NULL,
      "number 0: 0 to 255 is wanted" },
    { "hash_of_63_digits", "{\"algorithm\":{\"hash\":\"00\"}}", NULL, "2 hex digits, 64 are wanted" },
    { "hash_not_hex",
      "{\"algorithm\":{\"hash\":\"x000000000000000000000000000000000000000000000000000000000000000\"}}", NULL,
      "hash: " },
    { "key_not_base64", "{\"algorithm\":{\"user_key\":\"A\"}}", NULL, "user_key: " },
    { "half_built_list_is_freed",
      "{\"datasets\":[{\"hash\":\"" HEX_ZEROS "\",\"filename\":\"a\"},{\"filename\":\"b\",\"hash\":1}]}",
      NULL, "datasets: [1]: hash: " },
};

static void check_case(void **state)
{
    const struct read_case *t = *state;
    CLEANUP(buf_done) struct buf out = BUF_INIT(1 << 20);
    CLEANUP(pb_done) Cvms__ComputationRunReq *req = NULL;
    struct err e = ERR_INIT;

    req = mf_request_from_json(slice_of_str(t->json), &e);
    assert_int_equal(req != NULL, t->want != NULL);
    assert_int_equal(e.kind, req ? ERR_KIND_NONE : ERR_KIND_INVALID);
    if (t->why && !strstr(err_text(&e), t->why))
        fail_msg("'%s' is not in '%s'", t->why, err_text(&e));
    if (!req)
        return;
    assert_true(mf_json(req, &out, &e));
    assert_string_equal(buf_str(&out, &e), t->want);
}

static void PB_6_depth_10000_is_refused(void **state)
{
    CLEANUP(buf_done) struct buf deep = BUF_INIT(20000);
    struct err e = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < 10000; i++)
        assert_true(buf_append_u8(&deep, '[', &e));
    assert_null(mf_request_from_json(buf_slice(&deep), &e));
    assert_int_not_equal(e.kind, ERR_KIND_NONE);
}

static void hash_of_31_bytes_has_no_json(void **state)
{
    Cvms__ComputationRunReq req = CVMS__COMPUTATION_RUN_REQ__INIT;
    Cvms__Algorithm algorithm = CVMS__ALGORITHM__INIT;
    CLEANUP(buf_done) struct buf out = BUF_INIT(1024);
    uint8_t hash[31] = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    algorithm.hash = (ProtobufCBinaryData){ sizeof(hash), hash };
    req.algorithm = &algorithm;
    assert_false(mf_json(&req, &out, &e));
    assert_int_equal(out.len, 0);
    assert_non_null(strstr(err_text(&e), "algorithm: hash: 31 bytes, 32 are wanted"));
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases) + 2];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_case);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(PB_6_depth_10000_is_refused);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(hash_of_31_bytes_has_no_json);
    return _cmocka_run_group_tests("manifest/json", tests, count, NULL, NULL);
}
