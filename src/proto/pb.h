/*
 * Protobuf messages, decoded only after our own limits have been met.
 *
 * protobuf-c allocates what the bytes announce and takes any string. So the
 * wire is walked first, by the message's descriptor: depth, number of
 * elements, overlong varints, groups and UTF-8 are checked before protobuf-c
 * sees a byte. Cases PB-3, PB-4, PB-5.
 */
#ifndef PROTO_PB_H
#define PROTO_PB_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"

struct pb_limits {
    size_t depth;    /* nested messages, 0: 16                          */
    size_t elements; /* fields in the whole tree, known or not, 0: 65536 */
};

/*
 * A message to be freed with pb_free, or NULL with *e set: INVALID names the
 * message, the field and what is wrong with it ("cvms.Dataset.filename is not
 * UTF-8"); LIMIT. Unknown fields are skipped and dropped. limits may be NULL.
 */
ProtobufCMessage *pb_decode(const ProtobufCMessageDescriptor *type, struct slice wire,
                            const struct pb_limits *limits, struct err *e) MUST_CHECK;

/* Accepts NULL. */
void pb_free(ProtobufCMessage *m);
/* For CLEANUP on any pointer to a generated message. */
void pb_done(void *pointer_to_message_pointer);

/* Appends the serialized message. */
bool pb_encode(const ProtobufCMessage *m, struct buf *out, struct err *e) MUST_CHECK;

/* A borrowed view of a bytes field, and a bytes field that borrows from a slice. */
static inline struct slice pb_slice(ProtobufCBinaryData d)
{
    return (struct slice){ d.data, d.len };
}
ProtobufCBinaryData pb_bytes(struct slice s);

/* The serialized FileDescriptorSet of all .proto files with their imports, for reflection. */
struct slice pb_descriptor_set(void);

#endif
