/*
 * An algorithm for a computation: fits y = intercept + slope * x by least
 * squares over the rows of all tables that the data providers brought.
 *
 * It is an ordinary program: it reads datasets/, writes results/, both in its
 * working directory, and tells what it does on stdout, which arrives at the
 * one who ordered the computation as debug log. It knows nothing of this
 * project.
 *
 *   linreg [x column [y column]]
 *
 * The tables are CSV with a header line and without quotes. A row where
 * either column is NA or empty is counted and skipped.
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LINE_MAX_LEN 65536
#define POINTS_MAX ((size_t)50 * 1000 * 1000)

struct points {
    double *x;
    double *y;
    size_t count;
    size_t cap;
    size_t skipped; /* rows without both values */
};

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "linreg: %s: %s\n", what, why);
    return 1;
}

static int points_add(struct points *p, double x, double y)
{
    if (p->count == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 1024;
        double *xs;
        double *ys;

        if (cap > POINTS_MAX)
            return complain("datasets", "more rows than fit");
        xs = realloc(p->x, cap * sizeof(*xs));
        if (xs)
            p->x = xs;
        ys = realloc(p->y, cap * sizeof(*ys));
        if (ys)
            p->y = ys;
        if (!xs || !ys)
            return complain("datasets", "out of memory");
        p->cap = cap;
    }
    p->x[p->count] = x;
    p->y[p->count] = y;
    p->count++;
    return 0;
}

/* Cuts the first field off *line and returns it; NULL when none is left. */
static char *next_field(char **line)
{
    char *field = *line;
    char *comma;

    if (!field)
        return NULL;
    comma = strchr(field, ',');
    if (comma)
        *comma = '\0';
    *line = comma ? comma + 1 : NULL;
    return field;
}

static int column_of(char *header, const char *name)
{
    char *field;

    for (int i = 0; (field = next_field(&header)) != NULL; i++)
        if (strcmp(field, name) == 0)
            return i;
    return -1;
}

/* 0: *ret is set; 1: no value there; 2: not a number. */
static int value_of(const char *field, double *ret)
{
    char *end;

    if (!field || field[0] == '\0' || strcmp(field, "NA") == 0)
        return 1;
    errno = 0;
    *ret = strtod(field, &end);
    return end == field || *end != '\0' || errno != 0 || !isfinite(*ret) ? 2 : 0;
}

static int read_row(char *line, int x_at, int y_at, struct points *p)
{
    const char *x_text = NULL;
    const char *y_text = NULL;
    char *field;
    double x = 0;
    double y = 0;
    int x_state;
    int y_state;

    for (int i = 0; (field = next_field(&line)) != NULL; i++) {
        if (i == x_at)
            x_text = field;
        if (i == y_at)
            y_text = field;
    }
    x_state = value_of(x_text, &x);
    y_state = value_of(y_text, &y);
    if (x_state == 2 || y_state == 2)
        return complain(x_state == 2 ? x_text : y_text, "not a number");
    if (x_state == 1 || y_state == 1) {
        p->skipped++;
        return 0;
    }
    return points_add(p, x, y);
}

static int read_lines(FILE *in, const char *path, const char *x_name, const char *y_name, struct points *p)
{
    static char line[LINE_MAX_LEN];
    static char header[LINE_MAX_LEN];
    int x_at = -1;
    int y_at = -1;

    for (size_t number = 1; fgets(line, sizeof(line), in); number++) {
        size_t len = strlen(line);

        if (len + 1 == sizeof(line) && line[len - 1] != '\n')
            return complain(path, "a line is too long");
        line[strcspn(line, "\r\n")] = '\0';
        if (number == 1) {
            memcpy(header, line, sizeof(header));
            x_at = column_of(line, x_name);
            y_at = column_of(header, y_name);
            if (x_at < 0 || y_at < 0)
                return complain(path, x_at < 0 ? "the x column is not in its header"
                                               : "the y column is not in its header");
        } else if (line[0] != '\0' && read_row(line, x_at, y_at, p) != 0) {
            return complain(path, "the row above can't be used");
        }
    }
    if (ferror(in))
        return complain(path, strerror(errno));
    return x_at < 0 ? complain(path, "is empty") : 0;
}

static int read_table(const char *name, const char *x_name, const char *y_name, struct points *p)
{
    char path[512];
    size_t before = p->count;
    FILE *in;
    int failed;

    if (snprintf(path, sizeof(path), "datasets/%s", name) >= (int)sizeof(path))
        return complain(name, "name too long");
    in = fopen(path, "r");
    if (!in)
        return complain(path, strerror(errno));
    failed = read_lines(in, path, x_name, y_name, p);
    fclose(in);
    if (!failed)
        printf("%s: %zu rows\n", path, p->count - before);
    return failed;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_table(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return len > 4 && strcmp(entry->d_name + len - 4, ".csv") == 0;
}

static int read_tables(const char *x_name, const char *y_name, struct points *p)
{
    struct dirent **names = NULL;
    int count = scandir("datasets", &names, is_table, by_name);
    int failed = 0;

    if (count < 0)
        return complain("datasets", strerror(errno));
    if (count == 0)
        failed = complain("datasets", "holds no .csv file");
    for (int i = 0; i < count; i++) {
        if (!failed)
            failed = read_table(names[i]->d_name, x_name, y_name, p);
        free(names[i]);
    }
    free(names);
    return failed;
}

static int write_model(const struct points *p, const char *x_name, const char *y_name)
{
    double mean_x = 0;
    double mean_y = 0;
    double sxx = 0;
    double sxy = 0;
    double syy = 0;
    double slope;
    FILE *out;

    for (size_t i = 0; i < p->count; i++) {
        mean_x += p->x[i];
        mean_y += p->y[i];
    }
    mean_x /= (double)p->count;
    mean_y /= (double)p->count;
    /* Sums of what is left after the means are taken away lose no digits. */
    for (size_t i = 0; i < p->count; i++) {
        double dx = p->x[i] - mean_x;
        double dy = p->y[i] - mean_y;

        sxx += dx * dx;
        sxy += dx * dy;
        syy += dy * dy;
    }
    if (sxx <= 0)
        return complain(x_name, "all values are the same, so there is no slope");
    slope = sxy / sxx;
    if (mkdir("results", 0755) != 0 && errno != EEXIST)
        return complain("results", strerror(errno));
    out = fopen("results/model.json", "w");
    if (!out)
        return complain("results/model.json", strerror(errno));
    fprintf(out, "{\n  \"x\": \"%s\",\n  \"y\": \"%s\",\n  \"rows\": %zu,\n  \"skipped\": %zu,\n", x_name,
            y_name, p->count, p->skipped);
    fprintf(out, "  \"intercept\": %.6f,\n  \"slope\": %.6f,\n  \"r_squared\": %.6f\n}\n",
            mean_y - slope * mean_x, slope, syy > 0 ? sxy * sxy / (sxx * syy) : 1.0);
    if (fclose(out) != 0)
        return complain("results/model.json", strerror(errno));
    printf("%s = %.4f + %.4f * %s\n", y_name, mean_y - slope * mean_x, slope, x_name);
    return 0;
}

int main(int argc, char **argv)
{
    const char *x_name = argc > 1 ? argv[1] : "flipper_length_mm";
    const char *y_name = argc > 2 ? argv[2] : "body_mass_g";
    struct points p = { NULL, NULL, 0, 0, 0 };
    int failed = read_tables(x_name, y_name, &p);

    if (!failed && p.count < 2)
        failed = complain("datasets", "fewer than two rows with both values");
    if (!failed)
        failed = write_model(&p, x_name, y_name);
    free(p.x);
    free(p.y);
    return failed;
}
