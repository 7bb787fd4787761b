#include <fcntl.h>
#include <limits.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/stage.h"
#include "base/zip.h"
#include "cvms/resource.h"

static const struct {
    const char *key;
    size_t offset;
} keys[] = {
    { "name", offsetof(struct cvms_resource, name) },
    { "path", offsetof(struct cvms_resource, path) },
    { "hash", offsetof(struct cvms_resource, hash) },
    { "url", offsetof(struct cvms_resource, url) },
    { "type", offsetof(struct cvms_resource, type) },
    { "kbs-path", offsetof(struct cvms_resource, kbs_path) },
    { "kbs-url", offsetof(struct cvms_resource, kbs_url) },
    { "decompress", offsetof(struct cvms_resource, decompress) },
    { "key", offsetof(struct cvms_resource, key) },
};

static const char **field_of(struct cvms_resource *r, struct slice key)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (slice_equal_str(key, keys[i].key))
            return (const char **)(void *)((char *)r + keys[i].offset);
    }
    return NULL;
}

bool cvms_resource_parse(const char *text, struct cvms_pool *pool, struct cvms_resource *ret,
                         struct cvms_faults *f, struct err *e)
{
    struct cvms_resource r = { 0 };
    char **items;
    size_t count;

    if (!cvms_pool_split(pool, text, true, &items, &count, e))
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t key_len = slice_find(slice_of_str(items[i]), '=');
        const char **field = field_of(&r, slice_of(items[i], key_len));

        if (items[i][key_len] == '\0')
            cvms_fault(f, "-dataset '%s': '%s' is not key=value (a comma inside a value is written \\,)",
                       text, items[i]);
        else if (!field)
            cvms_fault(f,
                       "-dataset '%s': '%.*s' is unknown; name, path, hash, url, type, kbs-path, kbs-url, "
                       "decompress and key are known",
                       text, (int)key_len, items[i]);
        else if (*field)
            cvms_fault(f, "-dataset '%s': '%.*s' is there twice", text, (int)key_len, items[i]);
        else
            *field = items[i] + key_len + 1;
    }
    if (!r.path && !r.url && !r.hash)
        cvms_fault(f, "-dataset '%s': path, url or hash is wanted", text);
    *ret = r;
    return true;
}

static bool add_to_hash(struct slice bytes, void *ctx, struct err *e)
{
    return hash_add(ctx, bytes, e);
}

static bool hash_dir(int fd, uint8_t *ret, struct err *e)
{
    CLEANUP(hash_done) struct hash *h = hash_new(HASH_SHA3_256, e);

    return h && zip_write_dir(fd, add_to_hash, h, NULL, e) && hash_finish(h, ret, e);
}

bool cvms_path_hash(const char *path, uint8_t ret[HASH_SHA3_256_LEN], struct err *e)
{
    /* O_NONBLOCK: a FIFO would hold us until somebody writes to it. */
    CLEANUP(fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0)
        return err_fail_os(e, "open '%s'", path);
    if (S_ISDIR(st.st_mode))
        return hash_dir(fd, ret, e) || err_wrap(e, "zip '%s'", path);
    if (!S_ISREG(st.st_mode))
        return err_fail(e, ERR_KIND_INVALID, "'%s' is neither a file nor a directory", path);
    return hash_fd(HASH_SHA3_256, fd, ret, NULL, e) || err_wrap(e, "read '%s'", path);
}

/* The last component of path, without slashes behind it. */
static struct slice last_component(const char *path)
{
    size_t end = strlen(path), start;

    while (end > 0 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/'; start--)
        ;
    return slice_of(path + start, end - start);
}

char *cvms_path_name(const char *path, struct cvms_pool *pool, struct err *e)
{
    char real[PATH_MAX];
    struct slice name = last_component(path);

    if ((slice_equal_str(name, ".") || slice_equal_str(name, "..")) && realpath(path, real))
        name = last_component(real);
    return cvms_pool_text(pool, name, e);
}

const char *cvms_url_type(const char *url)
{
    static const struct {
        const char *scheme, *type;
    } known[] = { { "s3://", "s3" }, { "gs://", "gcs" }, { "https://", "https" }, { "http://", "http" } };

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strncasecmp(url, known[i].scheme, strlen(known[i].scheme)) == 0)
            return known[i].type;
    }
    return "oci-image";
}
