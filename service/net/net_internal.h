/*
 * The curl wall: what fetch.c and post.c share; nobody else includes it.
 */
#ifndef DROVER_NET_NET_INTERNAL_H
#define DROVER_NET_NET_INTERNAL_H

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdbool.h>

#include "service/base/cleanup.h"

#define NET_USER_AGENT "Drover/" DROVER_VERSION

DEFINE_CLEANUP(curl, CURL *, curl_easy_cleanup);
DEFINE_CLEANUP(curl_url, CURLU *, curl_url_cleanup);
DEFINE_CLEANUP(curl_list, struct curl_slist *, curl_slist_free_all);

void net_curl_begin(void); /* before anything else of curl's; any thread, any number of times */

/* Judges each address when a socket to it is made. */
struct net_guard {
    bool allow_private;
    char refused[INET6_ADDRSTRLEN]; /* the address that was not connected to, or "" */
};
/* http and https only, no proxy, no signals, no cached names, and the guard. */
void net_guard_set(CURL *curl, struct net_guard *guard);

#endif
