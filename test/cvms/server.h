/*
 * cvms.Service: one loop, any number of agents.
 */
#ifndef CVMS_SERVER_H
#define CVMS_SERVER_H

#include "cvms/options.h"
#include "cvms/order.h"
#include "cvms/show.h"

/*
 * Serves until a signal, or until the expectations have been met or missed,
 * and returns the exit status: 0, or 1 with the reason logged or, for
 * expectations, reported on stderr. Both arguments are borrowed.
 */
int cvms_serve(const struct cvms_options *o, const struct cvms_order *order, enum cvms_form form);

#endif
