/*
 * The dashboard's built files, embedded in the daemon. Constant data: any thread, no locks.
 *
 * Written by embed.py from what build.mjs made; sorted by path, compared as bytes, so that a
 * lookup may use bsearch().
 */
#ifndef DROVER_WEB_ASSETS_H
#define DROVER_WEB_ASSETS_H

#include <stdbool.h>
#include <stddef.h>

struct web_asset {
    const char *path;         /* "index.html", "assets/app-HASH.js": no leading slash */
    const char *content_type; /* as the header is sent, charset included */
    const char *etag;         /* as the header is sent, quotes included; of the plain bytes */
    const unsigned char *data;
    size_t len;
    const unsigned char *gzip; /* NULL when compressing does not make it smaller */
    size_t gzip_len;
    bool immutable; /* the name carries a hash of the content: cache for ever */
};

extern const struct web_asset web_assets[];
extern const size_t web_asset_count;

#endif
