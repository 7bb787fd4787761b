/*
 * Zero bytes in the text of a log line.
 *
 * Protobuf allows them, our decoder does not, because a C string would end
 * there. An algorithm that writes binary to its output makes an honest agent
 * send such lines, and to end its stream would make it send them again.
 */
#ifndef CVMS_MEND_H
#define CVMS_MEND_H

#include "base/buf.h"

/*
 * In a serialized ClientStreamMessage, makes the zero bytes of
 * agent_log.message SUB (0x1a) bytes, in place. True when there was one.
 * Whatever else is wrong with the message stays wrong.
 */
bool cvms_mend_log(struct buf *message) MUST_CHECK;

#endif
