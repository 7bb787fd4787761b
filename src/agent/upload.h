/*
 * What is inside an AlgoRequest and a DataRequest.
 *
 * Read in place rather than unpacked: a message is a MiB of payload, and these
 * bytes go straight to the hash and the disk.
 */
#ifndef AGENT_UPLOAD_H
#define AGENT_UPLOAD_H

#include "base/err.h"
#include "base/slice.h"

/*
 * Fields 1 (algorithm, dataset) and 2 (requirements, filename), both
 * length-delimited; they borrow from body, empty when absent, the last one
 * counts. Other fields are skipped. INVALID otherwise.
 */
bool upload_parse(struct slice body, struct slice *ret_first, struct slice *ret_second,
                  struct err *e) MUST_CHECK;

#endif
