/* Which addresses the kernel has seen at which MAC, from /proc/net/arp. */
#include <stdio.h>
#include <string.h>

#include "service/base/cleanup.h"
#include "service/host/host_internal.h"

#define TABLE_MAX 65536
#define COMPLETE  0x2 /* ATF_COM */

/* IP address, HW type, Flags, HW address, Mask, Device; the first line is the heading. */
void host_neighbours_parse(char *text, void (*fn)(void *arg, const char *address, const char *mac),
                           void *arg)
{
    char *save = NULL;

    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char address[46], mac[18];
        unsigned flags;

        if (sscanf(line, "%45s 0x%*x 0x%x %17s", address, &flags, mac) == 3 && flags & COMPLETE &&
            strlen(mac) == 17)
            fn(arg, address, mac);
    }
}

void host_neighbours(struct host *h, void (*fn)(void *arg, const char *address, const char *mac),
                     void *arg)
{
    auto_free char *text = malloc(TABLE_MAX);

    if (text && host_read(h, "proc/net/arp", text, TABLE_MAX) > 0)
        host_neighbours_parse(text, fn, arg);
}
