/* See ipv4.h. */
#include "service/vm/ipv4.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool ipv4_parse(const char *text, uint32_t *ret)
{
    struct in_addr in;

    /* inet_pton() takes four decimal numbers and nothing else: no octal, no short forms. */
    if (inet_pton(AF_INET, text, &in) != 1)
        return false;
    *ret = ntohl(in.s_addr);
    return true;
}

bool ipv4_cidr_parse(const char *text, uint32_t *ret, unsigned *ret_prefix)
{
    const char *slash = strchr(text, '/');
    char address[IPV4_TEXT];
    unsigned prefix = 0;
    size_t len;

    if (!slash || (size_t)(slash - text) >= sizeof(address))
        return false;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    len = strlen(slash + 1);
    if (len < 1 || len > 2 || (len == 2 && slash[1] == '0'))
        return false;
    for (const char *p = slash + 1; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        prefix = prefix * 10 + (unsigned)(*p - '0');
    }
    if (prefix > 32 || !ipv4_parse(address, ret))
        return false;
    *ret_prefix = prefix;
    return true;
}

void ipv4_format(uint32_t address, char ret[IPV4_TEXT])
{
    snprintf(ret, IPV4_TEXT, "%u.%u.%u.%u", address >> 24, address >> 16 & 0xff, address >> 8 & 0xff,
             address & 0xff);
}

void ipv4_cidr_format(uint32_t address, unsigned prefix, char ret[IPV4_TEXT])
{
    snprintf(ret, IPV4_TEXT, "%u.%u.%u.%u/%u", address >> 24, address >> 16 & 0xff,
             address >> 8 & 0xff, address & 0xff, prefix > 32 ? 32 : prefix);
}

uint32_t ipv4_host_mask(unsigned prefix)
{
    return prefix >= 32 ? 0 : UINT32_MAX >> prefix;
}

bool ipv4_interface_ok(const char *text)
{
    uint32_t address, hosts;
    unsigned prefix;

    if (!ipv4_cidr_parse(text, &address, &prefix) || prefix < 1)
        return false;
    hosts = ipv4_host_mask(prefix);
    /* Neither the network itself nor its broadcast address, where it has them. */
    return prefix >= 31 || ((address & hosts) != 0 && (address & hosts) != hosts);
}

bool ipv4_address_ok(const char *text)
{
    uint32_t address;

    return ipv4_parse(text, &address) && address != 0 && address != UINT32_MAX;
}
