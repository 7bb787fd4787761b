#include "scratch.h"

#include "base/key.h"
#include "base/text.h"

/* Keys are made with the openssl program once, before the tests. */
static int make_keys(void **state)
{
    (void)state;
    scratch_enter();
    return scratch_sh(
        "set -e\n"
        "openssl genrsa -out rsa.pem 2048\n"
        "openssl rsa -in rsa.pem -traditional -out rsa1.pem\n"
        "sed 's/RSA PRIVATE/PRIVATE/' rsa1.pem > old_cli.pem\n"
        "openssl ecparam -name prime256v1 -genkey -out p256.pem\n" /* with EC PARAMETERS before it */
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.pem\n"
        "openssl ecparam -name secp521r1 -genkey -noout -out p521.pem\n"
        "openssl ecparam -name secp256k1 -genkey -noout -out k1.pem\n"
        "openssl ecparam -name prime256v1 -param_enc explicit -genkey -noout -out explicit.pem\n"
        "openssl genpkey -algorithm ed25519 -out ed.pem\n"
        "openssl genpkey -algorithm ed448 -out ed448.pem\n"
        "openssl genpkey -algorithm x25519 -out x25519.pem\n"
        "openssl genrsa -out small.pem 1024\n"
        "openssl pkey -in ed.pem -aes256 -passout pass:x -out encrypted.pem\n"
        "openssl rsa -in rsa.pem -traditional -aes128 -passout pass:x -out encrypted1.pem\n"
        "for k in rsa p256 p384 p521 ed k1 explicit ed448 x25519 small; do\n"
        "  openssl pkey -in $k.pem -pubout -out $k.pub.pem\n"
        "  openssl pkey -in $k.pem -pubout -outform DER -out $k.pub.der\n"
        "done\n"
        "openssl req -x509 -new -key p256.pem -subj /CN=unit -days 1 -out cert.pem\n"
        "sed '/BEGIN/,/END/!d' rsa1.pem | head -c 400 > cut.pem\n"
        "{ echo 'text before'; cat ed.pem; } > text_before.pem\n"
        "tr '\\n' '#' < ed.pem | sed 's/#/\\r#/g' | tr '#' '\\n' > crlf.pem\n"
        "sed 's/-----BEGIN PRIVATE KEY-----/&\\nAAAA/' ed.pem > broken.pem\n"
        "printf -- '-----BEGIN PRIVATE KEY-----\\nMAA=\\n-----END PRIVATE KEY-----\\n' > empty_seq.pem\n");
}

static const struct slice roles[] = {
    SLICE_LIT("algorithm-provider"), SLICE_LIT("data-provider"), SLICE_LIT("consumer"), SLICE_LIT(""),
    SLICE_LIT("with\0nul"),
};

static struct key *load_private(const char *file, struct err *e)
{
    CLEANUP(buf_done) struct buf pem = BUF_INIT(1 << 20);

    scratch_read(file, &pem);
    return key_private_from_pem(buf_slice(&pem), e);
}

/* ---- reading ---- */

static struct private_case {
    const char *name;
    const char *file;
    enum err_kind want;
    enum key_type want_type;
    const char *want_text; /* part of the error */
} private_cases[] = {
    { "rsa_pkcs8", "rsa.pem", ERR_KIND_NONE, KEY_RSA, NULL },
    { "rsa_pkcs1", "rsa1.pem", ERR_KIND_NONE, KEY_RSA, NULL },
    { "rsa_pkcs1_under_private_key_D_39", "old_cli.pem", ERR_KIND_NONE, KEY_RSA, NULL },
    { "p256_sec1_behind_its_parameters", "p256.pem", ERR_KIND_NONE, KEY_ECDSA, NULL },
    { "p384_pkcs8", "p384.pem", ERR_KIND_NONE, KEY_ECDSA, NULL },
    { "p521_sec1", "p521.pem", ERR_KIND_NONE, KEY_ECDSA, NULL },
    { "ed25519_pkcs8", "ed.pem", ERR_KIND_NONE, KEY_ED25519, NULL },
    { "text_before_is_skipped", "text_before.pem", ERR_KIND_NONE, KEY_ED25519, NULL },
    { "crlf_lines", "crlf.pem", ERR_KIND_NONE, KEY_ED25519, NULL },
    { "other_curve_is_unsupported", "k1.pem", ERR_KIND_UNSUPPORTED, KEY_RSA, "unsupported" },
    { "explicit_curve_is_unsupported", "explicit.pem", ERR_KIND_UNSUPPORTED, KEY_RSA, "unsupported" },
    { "ed448_is_unsupported", "ed448.pem", ERR_KIND_UNSUPPORTED, KEY_RSA, "unsupported" },
    { "x25519_is_unsupported", "x25519.pem", ERR_KIND_UNSUPPORTED, KEY_RSA, "unsupported" },
    { "rsa_of_1024_bits_is_unsupported", "small.pem", ERR_KIND_UNSUPPORTED, KEY_RSA, "RSA key of 1024 bits" },
    { "encrypted_pkcs8_is_unsupported", "encrypted.pem", ERR_KIND_UNSUPPORTED, KEY_RSA, "encrypted" },
    { "encrypted_pkcs1_is_unsupported", "encrypted1.pem", ERR_KIND_UNSUPPORTED, KEY_RSA, "encrypted" },
    { "public_key_says_what_it_is", "rsa.pub.pem", ERR_KIND_INVALID, KEY_RSA, "holds 'PUBLIC KEY'" },
    { "certificate_says_what_it_is", "cert.pem", ERR_KIND_INVALID, KEY_RSA, "holds 'CERTIFICATE'" },
    { "der_is_not_pem", "rsa.pub.der", ERR_KIND_INVALID, KEY_RSA, "no whole PEM block" },
    { "cut_block", "cut.pem", ERR_KIND_INVALID, KEY_RSA, "no whole PEM block" },
    { "broken_bytes", "broken.pem", ERR_KIND_INVALID, KEY_RSA, "broken bytes" },
    { "empty_sequence", "empty_seq.pem", ERR_KIND_INVALID, KEY_RSA, "broken bytes" },
    { "empty_file", "/dev/null", ERR_KIND_INVALID, KEY_RSA, "is empty" },
};

static void check_private(void **state)
{
    const struct private_case *c = *state;
    struct err e = ERR_INIT;
    CLEANUP(key_done) struct key *k = load_private(c->file, &e);

    assert_int_equal(e.kind, c->want);
    assert_int_equal(k != NULL, c->want == ERR_KIND_NONE);
    if (k)
        assert_int_equal(key_type_of(k), c->want_type);
    else
        assert_non_null(strstr(err_text(&e), c->want_text));
}

static struct public_case {
    const char *name;
    const char *stem; /* of .pub.pem and .pub.der */
    enum err_kind want;
    enum key_type want_type;
} public_cases[] = {
    { "public_rsa", "rsa", ERR_KIND_NONE, KEY_RSA },
    { "public_p256", "p256", ERR_KIND_NONE, KEY_ECDSA },
    { "public_p384", "p384", ERR_KIND_NONE, KEY_ECDSA },
    { "public_p521", "p521", ERR_KIND_NONE, KEY_ECDSA },
    { "public_ed25519", "ed", ERR_KIND_NONE, KEY_ED25519 },
    { "public_other_curve", "k1", ERR_KIND_UNSUPPORTED, KEY_RSA },
    { "public_explicit_curve", "explicit", ERR_KIND_UNSUPPORTED, KEY_RSA },
    { "public_ed448", "ed448", ERR_KIND_UNSUPPORTED, KEY_RSA },
    { "public_x25519", "x25519", ERR_KIND_UNSUPPORTED, KEY_RSA },
    { "public_rsa_of_1024_bits", "small", ERR_KIND_UNSUPPORTED, KEY_RSA },
};

static void check_public(void **state)
{
    const struct public_case *c = *state;
    CLEANUP(buf_done) struct buf pem = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf want = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf seen = BUF_INIT(65536);
    char file[64];
    struct err e = ERR_INIT;

    snprintf(file, sizeof(file), "%s.pub.pem", c->stem);
    scratch_read(file, &pem);
    snprintf(file, sizeof(file), "%s.pub.der", c->stem);
    scratch_read(file, &want);

    assert_int_equal(key_public_pem_to_der(buf_slice(&pem), &seen, &e), c->want == ERR_KIND_NONE);
    assert_int_equal(e.kind, c->want);

    CLEANUP(key_done) struct key *k = key_public_from_der(buf_slice(&want), &e);

    assert_int_equal(e.kind, c->want);
    assert_int_equal(k != NULL, c->want == ERR_KIND_NONE);
    if (!k) {
        assert_int_equal(seen.len, 0);
        return;
    }
    assert_int_equal(key_type_of(k), c->want_type);
    assert_true(slice_equal(buf_slice(&seen), buf_slice(&want)));
    buf_truncate(&seen, 0);
    assert_true(key_public_der(k, &seen, &e));
    assert_true(slice_equal(buf_slice(&seen), buf_slice(&want)));
}

static void public_key_cut_at_each_byte_is_refused(void **state)
{
    CLEANUP(buf_done) struct buf der = BUF_INIT(65536);

    (void)state;
    scratch_read("p256.pub.der", &der);
    for (size_t len = 0; len < der.len; len++) {
        struct err e = ERR_INIT;

        assert_null(key_public_from_der(slice_first(buf_slice(&der), len), &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
    }
}

static void public_key_with_trailing_bytes_is_invalid(void **state)
{
    CLEANUP(buf_done) struct buf der = BUF_INIT(65536);
    struct err e = ERR_INIT;

    (void)state;
    scratch_read("ed.pub.der", &der);
    assert_true(buf_append_u8(&der, 0, &e));
    assert_null(key_public_from_der(buf_slice(&der), &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_string_equal(err_text(&e), "public key: 1 bytes follow it");
}

static void unsupported_kind_has_the_sheet_s_words(void **state)
{
    CLEANUP(buf_done) struct buf der = BUF_INIT(65536);
    struct err e = ERR_INIT;

    (void)state;
    scratch_read("x25519.pub.der", &der);
    assert_null(key_public_from_der(buf_slice(&der), &e));
    assert_string_equal(err_text(&e), "unsupported public key type");
}

static void unknown_algorithm_is_unsupported_not_broken(void **state)
{
    /* An SPKI of algorithm 1.2.3.4 with one key byte. */
    static const struct slice der = SLICE_LIT("\x30\x0c\x30\x05\x06\x03\x2a\x03\x04\x03\x03\x00\x2a\x00");
    struct err e = ERR_INIT;

    (void)state;
    assert_null(key_public_from_der(slice_first(der, 14), &e));
    assert_int_equal(e.kind, ERR_KIND_UNSUPPORTED);
}

static void certificate_gives_its_public_key(void **state)
{
    CLEANUP(buf_done) struct buf pem = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf want = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf seen = BUF_INIT(65536);
    struct err e = ERR_INIT;

    (void)state;
    scratch_read("cert.pem", &pem);
    scratch_read("p256.pub.der", &want);
    assert_true(key_public_pem_to_der(buf_slice(&pem), &seen, &e));
    assert_true(slice_equal(buf_slice(&seen), buf_slice(&want)));
    buf_truncate(&pem, 0);
    scratch_read("ed.pem", &pem);
    assert_false(key_public_pem_to_der(buf_slice(&pem), &seen, &e));
    assert_string_equal(err_text(&e), "public key: the file holds 'PRIVATE KEY', 'PUBLIC KEY' is wanted");
}

/* ---- signing ---- */

static struct sign_case {
    const char *name;
    const char *stem;
    const char *sign;  /* the openssl command that signs "text" into "sig"  */
    const char *check; /* and the one that checks it                        */
} sign_cases[] = {
    { "sign_rsa", "rsa", "openssl dgst -sha256 -sign rsa.pem -out sig text",
      "openssl dgst -sha256 -verify rsa.pub.pem -signature sig text" },
    { "sign_p256", "p256", "openssl dgst -sha256 -sign p256.pem -out sig text",
      "openssl dgst -sha256 -verify p256.pub.pem -signature sig text" },
    { "sign_p384_uses_sha256_too", "p384", "openssl dgst -sha256 -sign p384.pem -out sig text",
      "openssl dgst -sha256 -verify p384.pub.pem -signature sig text" },
    { "sign_p521_uses_sha256_too", "p521", "openssl dgst -sha256 -sign p521.pem -out sig text",
      "openssl dgst -sha256 -verify p521.pub.pem -signature sig text" },
    { "sign_ed25519", "ed", "openssl pkeyutl -sign -rawin -inkey ed.pem -in text -out sig",
      "openssl pkeyutl -verify -rawin -pubin -inkey ed.pub.pem -in text -sigfile sig" },
};

static void check_sign(void **state)
{
    const struct sign_case *c = *state;
    CLEANUP(buf_done) struct buf der = BUF_INIT(65536);
    struct err e = ERR_INIT;
    char file[64];

    snprintf(file, sizeof(file), "%s.pem", c->stem);

    CLEANUP(key_done) struct key *private_key = load_private(file, &e);

    snprintf(file, sizeof(file), "%s.pub.der", c->stem);
    scratch_read(file, &der);

    CLEANUP(key_done) struct key *public_key = key_public_from_der(buf_slice(&der), &e);

    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        CLEANUP(buf_done) struct buf ours = BUF_INIT(4096);
        CLEANUP(buf_done) struct buf theirs = BUF_INIT(4096);
        struct slice other = roles[(i + 1) % ARRAY_LEN(roles)];

        assert_true(key_sign(private_key, roles[i], &ours, &e));
        assert_true(key_verify(public_key, roles[i], buf_slice(&ours), &e));
        assert_true(key_verify(private_key, roles[i], buf_slice(&ours), &e));
        assert_false(key_verify(public_key, other, buf_slice(&ours), &e));
        assert_int_equal(e.kind, ERR_KIND_UNVERIFIED);
        if (roles[i].len == 0)
            continue; /* the openssl program signs no empty file with Ed25519 */

        scratch_write("text", roles[i], 0600);
        scratch_write("sig", buf_slice(&ours), 0600);
        assert_int_equal(scratch_sh(c->check), 0);
        assert_int_equal(scratch_sh(c->sign), 0);
        scratch_read("sig", &theirs);
        err_clear(&e);
        assert_true(key_verify(public_key, roles[i], buf_slice(&theirs), &e));
        assert_string_equal(err_text(&e), "");
    }
}

static void each_flipped_bit_of_a_signature_is_seen(void **state)
{
    static const char *const files[] = { "rsa.pem", "p256.pem", "ed.pem" };

    (void)state;
    for (size_t f = 0; f < ARRAY_LEN(files); f++) {
        CLEANUP(buf_done) struct buf sig = BUF_INIT(4096);
        struct err e = ERR_INIT;
        CLEANUP(key_done) struct key *k = load_private(files[f], &e);

        assert_true(key_sign(k, roles[0], &sig, &e));
        for (size_t bit = 0; bit < sig.len * 8; bit += 3) {
            sig.base[sig.start + bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_false(key_verify(k, roles[0], buf_slice(&sig), &e));
            assert_int_equal(e.kind, ERR_KIND_UNVERIFIED);
            sig.base[sig.start + bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_true(key_verify(k, roles[0], buf_slice(&sig), &e));
        for (size_t len = 0; len < sig.len; len++)
            assert_false(key_verify(k, roles[0], slice_first(buf_slice(&sig), len), &e));
        assert_true(buf_append_u8(&sig, 0, &e));
        assert_false(key_verify(k, roles[0], buf_slice(&sig), &e));
    }
}

static void another_key_s_signature_does_not_hold(void **state)
{
    static const char *const files[] = { "rsa.pem", "p256.pem", "p384.pem", "ed.pem" };
    CLEANUP(buf_done) struct buf sig = BUF_INIT(4096);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct err e = ERR_INIT;
        CLEANUP(key_done) struct key *signer = load_private(files[i], &e);
        CLEANUP(key_done) struct key *other = load_private(files[(i + 1) % ARRAY_LEN(files)], &e);

        buf_truncate(&sig, 0);
        assert_true(key_sign(signer, roles[0], &sig, &e));
        assert_false(key_verify(other, roles[0], buf_slice(&sig), &e));
        assert_int_equal(e.kind, ERR_KIND_UNVERIFIED);
    }
}

static void public_key_can_t_sign(void **state)
{
    CLEANUP(buf_done) struct buf der = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf sig = BUF_INIT(4096);
    struct err e = ERR_INIT;

    (void)state;
    scratch_read("rsa.pub.der", &der);

    CLEANUP(key_done) struct key *k = key_public_from_der(buf_slice(&der), &e);

    assert_false(key_sign(k, roles[0], &sig, &e));
    assert_int_equal(sig.len, 0);
    assert_int_not_equal(e.kind, ERR_KIND_NONE);
}

/* ---- making ---- */

static struct generate_case {
    const char *name;
    enum key_type type;
    const char *check; /* what openssl has to say of key.pem */
} generate_cases[] = {
    { "generate_rsa_4096", KEY_RSA,
      "openssl pkey -in key.pem -noout -text | grep -q '4096 bit' && openssl rsa -in key.pem -check -noout" },
    { "generate_p256", KEY_ECDSA, "openssl pkey -in key.pem -noout -text | grep -q prime256v1" },
    { "generate_ed25519", KEY_ED25519, "openssl pkey -in key.pem -noout -text | grep -q 'ED25519 Private'" },
};

static void check_generate(void **state)
{
    const struct generate_case *c = *state;
    struct secret pem = SECRET_INIT(65536);
    CLEANUP(buf_done) struct buf public_pem = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf der = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf der_again = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf sig = BUF_INIT(4096);
    struct err e = ERR_INIT;
    CLEANUP(key_done) struct key *k = key_generate(c->type, &e);

    assert_non_null(k);
    assert_int_equal(key_type_of(k), c->type);
    assert_true(key_private_pem(k, &pem, &e));
    assert_true(key_public_pem(k, &public_pem, &e));
    assert_true(slice_starts(secret_slice(&pem), "-----BEGIN PRIVATE KEY-----\n"));
    assert_true(slice_starts(buf_slice(&public_pem), "-----BEGIN PUBLIC KEY-----\n"));
    scratch_write("key.pem", secret_slice(&pem), 0600);
    assert_int_equal(scratch_sh(c->check), 0);

    CLEANUP(key_done) struct key *again = key_private_from_pem(secret_slice(&pem), &e);

    secret_done(&pem);
    assert_non_null(again);
    assert_true(key_sign(again, roles[2], &sig, &e));
    assert_true(key_verify(k, roles[2], buf_slice(&sig), &e));
    assert_true(key_public_der(k, &der, &e));
    assert_true(key_public_pem_to_der(buf_slice(&public_pem), &der_again, &e));
    assert_true(slice_equal(buf_slice(&der), buf_slice(&der_again)));
}

static void freeing_nothing_is_fine(void **state)
{
    struct key *none = NULL;

    (void)state;
    key_free(NULL);
    key_done(&none);
    assert_null(none);
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(public_key_cut_at_each_byte_is_refused),
        cmocka_unit_test(public_key_with_trailing_bytes_is_invalid),
        cmocka_unit_test(unsupported_kind_has_the_sheet_s_words),
        cmocka_unit_test(unknown_algorithm_is_unsupported_not_broken),
        cmocka_unit_test(certificate_gives_its_public_key),
        cmocka_unit_test(each_flipped_bit_of_a_signature_is_seen),
        cmocka_unit_test(another_key_s_signature_does_not_hold),
        cmocka_unit_test(public_key_can_t_sign),
        cmocka_unit_test(freeing_nothing_is_fine),
    };
    static struct CMUnitTest tests[96];
    size_t count = 0;

    UNIT_ROWS(tests, count, private_cases, check_private);
    UNIT_ROWS(tests, count, public_cases, check_public);
    UNIT_ROWS(tests, count, sign_cases, check_sign);
    UNIT_ROWS(tests, count, generate_cases, check_generate);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("key", tests, count, make_keys, scratch_teardown);
}
