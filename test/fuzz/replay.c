/*
 * Runs a fuzz target over its kept seeds, as plain tests in TAP.
 *
 * usage: fuzz_<format> <folder or file>...
 *
 * Each seed is one test: the whole of it, and cuts of it, since a parser that
 * takes a message must also stand every beginning of one. A target has no
 * verdict but not to crash; what it checks, it asserts.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SEED_MAX ((size_t)16 * 1024 * 1024) /* bytes */
#define CUTS 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t seed_count;
static size_t failed_count;

/* A block of exactly len bytes, so that a read past its end is seen. */
static bool replay_bytes(const uint8_t *bytes, size_t len)
{
    uint8_t *exact = malloc(len ? len : 1);

    if (!exact)
        return false;
    if (len)
        memcpy(exact, bytes, len);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    return true;
}

static bool replay_file(FILE *f)
{
    uint8_t *bytes = malloc(SEED_MAX);
    bool ok = bytes != NULL;

    if (ok) {
        size_t len = fread(bytes, 1, SEED_MAX, f);
        size_t step = len / CUTS + 1;

        ok = !ferror(f) && replay_bytes(bytes, len);
        for (size_t cut = 0; ok && cut < len; cut += step)
            ok = replay_bytes(bytes, cut);
    }
    free(bytes);
    return ok;
}

static void replay_path(const char *path)
{
    FILE *f = fopen(path, "rbe");
    bool ok = f && replay_file(f);

    seed_count++;
    failed_count += ok ? 0 : 1;
    printf("%sok %zu - %s\n", ok ? "" : "not ", seed_count, path);
    if (!ok)
        printf("# %s\n", strerror(errno));
    fflush(stdout);
    if (f)
        fclose(f);
}

static int is_seed(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void replay_folder(const char *path)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, is_seed, alphasort);

    if (count <= 0) {
        seed_count++;
        failed_count++;
        printf("not ok %zu - %s\n# no seed here: %s\n", seed_count, path,
               count < 0 ? strerror(errno) : "the folder is empty");
    }
    for (int i = 0; i < count; i++) {
        char file[4096];

        if (snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name) < (int)sizeof(file))
            replay_path(file);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (stat(argv[i], &st) == 0 && S_ISREG(st.st_mode))
            replay_path(argv[i]);
        else
            replay_folder(argv[i]);
    }
    printf("1..%zu\n", seed_count);
    return failed_count || !seed_count ? 1 : 0;
}
