/*
 * The route table itself: every row can be reached, and none says two things at once.
 */
#include "api/router.h"
#include "tests/support/test.h"

static size_t count_segments(const char *path)
{
    size_t n = 0;

    for (; *path; path++)
        n += *path == '/';
    return n;
}

/* The template with "x" for each parameter. */
static void sample_path(const char *template, char *ret, size_t size)
{
    size_t len = 0;

    for (const char *p = template; *p && len + 2 < size; p++) {
        if (*p == '{') {
            ret[len++] = 'x';
            while (*p != '}')
                p++;
        } else {
            ret[len++] = *p;
        }
    }
    ret[len] = '\0';
}

TEST(every_row_is_reached_by_its_own_path)
{
    for (const struct route *r = routes; r->method; r++) {
        struct request req = {0};
        char path[256], allow[128];

        sample_path(r->path, path, sizeof(path));
        CHECK_INT(router_match(routes, r->method, path, &req, allow, sizeof(allow)), ROUTE_FOUND);
        if (req.route != r)
            printf("# %s %s leads to %s\n", r->method, r->path, req.route->path);
        CHECK(req.route == r);
    }
}

TEST(operation_ids_are_unique)
{
    for (const struct route *r = routes; r->method; r++) {
        for (const struct route *s = routes; s < r; s++)
            CHECK(strcmp(r->operation_id, s->operation_id) != 0);
    }
}

TEST(flags_do_not_contradict_each_other)
{
    for (const struct route *r = routes; r->method; r++) {
        unsigned f = r->flags;

        CHECK((r->handler != NULL) != (r->upload != NULL));
        CHECK((r->upload != NULL) == ((f & ROUTE_UPLOAD) != 0));
        CHECK(!(f & ROUTE_PUBLIC && r->scope));
        CHECK(!(f & ROUTE_INLINE && f & (ROUTE_UPGRADE | ROUTE_UPGRADE_OPTIONAL | ROUTE_UPLOAD)));
        CHECK(!(f & ROUTE_INLINE && strcmp(r->method, "GET") != 0));
        CHECK(!(f & ROUTE_BODY && strcmp(r->method, "GET") == 0));
        CHECK(__builtin_popcount(r->scope) <= 1);
        CHECK(count_segments(r->path) <= 6);
    }
}

TEST(only_reads_and_signing_in_are_public)
{
    for (const struct route *r = routes; r->method; r++) {
        if (r->flags & ROUTE_PUBLIC)
            CHECK(strcmp(r->method, "GET") == 0 || strcmp(r->operation_id, "createSession") == 0 ||
                  strcmp(r->operation_id, "lookupTicket") == 0);
    }
}

TEST(writes_below_v1_need_a_scope_that_writes_or_only_concern_oneself)
{
    const unsigned reads =
        ACCESS_VM_READ | ACCESS_IMAGE_READ | ACCESS_HOST_READ | ACCESS_METRICS_READ;

    for (const struct route *r = routes; r->method; r++) {
        if (strcmp(r->method, "GET") == 0)
            continue;
        CHECK(!(r->scope & reads));
        CHECK(r->scope || strncmp(r->path, "/v1/session", 11) == 0 ||
              strcmp(r->operation_id, "lookupTicket") == 0); /* reads; the secret is in the body */
    }
}

TEST_MAIN();
