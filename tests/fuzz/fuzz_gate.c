/*
 * The header gate, the router and the host policy on one request in text: whatever passes must be
 * free of the ambiguities that smuggling lives on. Links api and conf.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/http_gate.h"
#include "api/http_policy.h"
#include "api/router.h"

#define R(method, path)                                                                            \
    {                                                                                              \
        method, path, method " " path, 0, 0, NULL, NULL                                            \
    }
static const struct route table[] = {
    R("GET", "/"),
    R("GET", "/v1/vms"),
    R("POST", "/v1/vms"),
    R("GET", "/v1/vms/{vm}"),
    R("GET", "/v1/vms/{vm}/channels/{channel}"),
    R("PUT", "/v1/images/{image}/content/kernel"),
    {0},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_params(const struct request *req)
{
    for (size_t i = 0; i < req->param_count; i++) {
        const char *v = req->params[i].value;

        if (!*v || strpbrk(v, "/\\\n\r") || strcmp(v, ".") == 0 || strcmp(v, "..") == 0)
            abort();
    }
}

static void check_gate(const struct gate *g, unsigned lengths, unsigned codings, unsigned hosts)
{
    if (lengths + codings > 1 || hosts != 1)
        abort();
    if (codings && g->content_length != -1)
        abort();
    if (lengths && g->content_length < 0)
        abort();
}

/* "METHOD PATH VERSION\nName:value\n…"; lengths are what is left after the NULs in the input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_policy *policy;
    char text[8192];
    struct gate g = {0};
    struct request req = {0};
    struct error err;
    unsigned lengths = 0;
    unsigned codings = 0;
    unsigned hosts = 0;
    char allow[64];
    char *method;
    char *path;
    char *version;
    char *line;
    char *rest;

    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    line = strtok_r(text, "\n", &rest);
    method = line ? strsep(&line, " ") : NULL;
    path = line ? strsep(&line, " ") : NULL;
    version = line;
    if (!method || !path || !version)
        return 0;
    if (router_match(table, method, path, &req, allow, sizeof(allow)) == ROUTE_FOUND)
        check_params(&req);
    while ((line = strtok_r(NULL, "\n", &rest))) {
        char *name = strsep(&line, ":");
        const char *value = line ? line : "";

        gate_add(&g, name, strlen(name), value, strlen(value));
        lengths += strcasecmp(name, "content-length") == 0;
        codings += strcasecmp(name, "transfer-encoding") == 0;
        hosts += strcasecmp(name, "host") == 0;
    }
    if (gate_finish(&g, method, version, &err) < 0)
        return 0;
    check_gate(&g, lengths, codings, hosts);
    if (!policy) {
        struct settings *settings = settings_new();

        if (http_policy_new(settings, &policy, &err) < 0)
            abort();
        settings_free(settings);
    }
    if (http_policy_host(policy, g.value[GATE_HOST]) && g.value[GATE_ORIGIN] &&
        http_policy_origin(policy, g.value[GATE_ORIGIN], g.value[GATE_HOST], false) &&
        strcasecmp(g.value[GATE_ORIGIN] + 7, g.value[GATE_HOST]) != 0)
        abort(); /* nothing else is configured */
    return 0;
}
