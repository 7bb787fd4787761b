/*
 * From flags to the computation that agents are sent.
 */
#ifndef CVMS_ORDER_H
#define CVMS_ORDER_H

#include "cvms/options.h"
#include "cvms/pool.h"
#include "proto/cvms.pb-c.h"

struct cvms_order {
    Cvms__ComputationRunReq *req; /* lives as long as the order */
    Cvms__ComputationRunReq *from_json;
    struct cvms_pool pool;
};
#define CVMS_ORDER_INIT            \
    {                              \
        NULL, NULL, CVMS_POOL_INIT \
    }

/*
 * Reads keys, hashes files (blocking) and fills ret->req. What the user has
 * to mend becomes faults, and ret->req is then not for use; false with *e only
 * when memory is short. What cvms_options_check finds is not found again.
 */
bool cvms_order_make(const struct cvms_options *o, struct cvms_order *ret, struct cvms_faults *f,
                     struct err *e) MUST_CHECK;

/* Appends what the order says, in lines for people. */
bool cvms_order_describe(const struct cvms_order *order, struct buf *out, struct err *e) MUST_CHECK;

void cvms_order_done(struct cvms_order *order);

#endif
