/*
 * Bytes as text: base64, hex, JSON strings, quoting for people, and the Go
 * spellings of times, durations and booleans that our peers use.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/buf.h"

/* Standard alphabet, padded (RFC 4648 section 4). */
bool base64_encode(struct slice bytes, struct buf *out, struct err *e) MUST_CHECK;

/*
 * Appends the decoded bytes. INVALID on any byte outside the alphabet, wrong
 * length or non-zero spare bits. base64_decode wants the padding;
 * base64_decode_lax also takes the text without it (gRPC "-bin" metadata).
 */
bool base64_decode(struct slice text, struct buf *out, struct err *e) MUST_CHECK;
bool base64_decode_lax(struct slice text, struct buf *out, struct err *e) MUST_CHECK;

/* Lower-case hex. ret has room for 2 * bytes.len + 1 bytes and is NUL-terminated. */
void hex_encode(struct slice bytes, char *ret);

/* Either case; INVALID on odd length or another byte. */
bool hex_decode(struct slice text, struct buf *out, struct err *e) MUST_CHECK;

/*
 * Appends text as a JSON string with its quotes. Control bytes are \u00XX,
 * bytes that are not UTF-8 become U+FFFD, so the result is always valid JSON.
 */
bool text_json_string(struct slice text, struct buf *out, struct err *e) MUST_CHECK;

/*
 * Appends text for a terminal or a line of log: control bytes, escapes,
 * bidirectional overrides and invalid UTF-8 become visible \xNN or \u{...}.
 * Case RL-6.
 */
bool text_safe(struct slice text, struct buf *out, struct err *e) MUST_CHECK;

/*
 * The start of text for an error message: as text_safe, cut to fit with "..."
 * at its end, NUL-terminated. Never fails.
 */
#define TEXT_SHORT_SIZE 80
void text_short(struct slice text, char ret[TEXT_SHORT_SIZE]);

/* The one of names that name was probably meant to be; NULL when none is near, or name is one byte or over 48. */
const char *text_nearest(struct slice name, const char *const *names, size_t count);

/* Go ParseBool: 1 t T TRUE true True 0 f F FALSE false False. */
bool text_parse_bool(struct slice text, bool *ret, struct err *e) MUST_CHECK;

/* Decimal digits only; INVALID outside [min, max], naming both. */
bool text_parse_u64(struct slice text, uint64_t min, uint64_t max, uint64_t *ret, struct err *e) MUST_CHECK;

/* Go time.ParseDuration without a sign: "60s", "1h0m0s", "100ms", "1.5s", "0". In ms, rounded down. */
bool text_parse_duration_ms(struct slice text, uint64_t *ret_ms, struct err *e) MUST_CHECK;

/* "1h2m3s", "1.5s", "250ms": Go's Duration.String for whole milliseconds. ret holds 32 bytes. */
void text_format_duration_ms(uint64_t ms, char ret[32]);

/* RFC 3339 in UTC with nanoseconds: 2026-01-02T03:04:05.000000006Z. ret holds 40 bytes. */
void text_format_time(int64_t wall_ns, char ret[40]);

/* "12.3 MiB", for people. ret holds 24 bytes. */
void text_format_bytes(uint64_t len, char ret[24]);

#endif
