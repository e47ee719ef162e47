/*
 * The dashboard's files as they are embedded in the daemon; generated at build time from what
 * web/ builds. Read-only data: any thread.
 */
#ifndef DROVER_WEB_ASSETS_H
#define DROVER_WEB_ASSETS_H

#include <stdbool.h>
#include <stddef.h>

struct web_asset {
    const char *path;         /* as requested: "/" or "/assets/app-1a2b3c.js" */
    const char *content_type; /* "text/html; charset=utf-8" */
    const char *etag;         /* with its quotes */
    const unsigned char *data;
    size_t len;
    const unsigned char *gzip; /* NULL when compressing gains nothing */
    size_t gzip_len;
    bool immutable; /* the name holds a hash of the bytes: may be cached for a year */
};

extern const struct web_asset web_assets[];
extern const size_t web_asset_count;

#endif
