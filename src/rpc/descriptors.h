/*
 * An index over a FileDescriptorSet: which file declares a symbol or an
 * extension, and which files it needs. What reflection answers from.
 */
#ifndef RPC_DESCRIPTORS_H
#define RPC_DESCRIPTORS_H

#include "base/err.h"
#include "base/slice.h"

struct rpc_desc;

/*
 * set is a serialized google.protobuf.FileDescriptorSet with all imports,
 * borrowed until rpc_desc_free. INVALID when it is none, or when a file it
 * imports is missing.
 */
bool rpc_desc_new(struct slice set, struct rpc_desc **ret, struct err *e) MUST_CHECK;
void rpc_desc_free(struct rpc_desc *d);

/* Files are numbered from 0; this is a file's serialized FileDescriptorProto. */
size_t rpc_desc_file_count(const struct rpc_desc *d);
struct slice rpc_desc_file(const struct rpc_desc *d, size_t file);

/* All answer false when there is no such thing. A symbol is a message, field, oneof, enum, value of
 * an enum, service, method or extension by its full name without a leading dot. */
bool rpc_desc_by_name(const struct rpc_desc *d, struct slice name, size_t *ret_file) MUST_CHECK;
bool rpc_desc_by_symbol(const struct rpc_desc *d, struct slice symbol, size_t *ret_file) MUST_CHECK;
bool rpc_desc_by_extension(const struct rpc_desc *d, struct slice message, int32_t number,
                           size_t *ret_file) MUST_CHECK;
bool rpc_desc_is_message(const struct rpc_desc *d, struct slice symbol);

/* The nth extension number of a message, in no order; false past the last. */
bool rpc_desc_extension_number(const struct rpc_desc *d, struct slice message, size_t nth,
                               int32_t *ret_number) MUST_CHECK;

/*
 * The file and all it imports, itself first, each once. ret has room for
 * rpc_desc_file_count files; returns how many were set.
 */
size_t rpc_desc_with_imports(const struct rpc_desc *d, size_t file, size_t *ret);

#endif
