/* What the targets that are a transport's loop themselves leave behind. */
#ifndef DROVER_TESTS_HTTP_END_H
#define DROVER_TESTS_HTTP_END_H

#include <stdlib.h>
#include <unistd.h>

#include "api/http_internal.h"
#include "service/conf/settings.h"

/* After the library and the side have ended. Takes settings. */
static inline void http_end(struct http *h, struct settings *settings)
{
    http_policy_free(h->policy);
    close(h->wake_fd);
    while (h->spare) {
        struct exchange *x = h->spare;

        h->spare = x->next;
        free(x);
    }
    settings_free(settings);
}

#endif
