/*
 * IPv4 addresses as text and as numbers. Pure; any thread.
 */
#ifndef DROVER_VM_IPV4_H
#define DROVER_VM_IPV4_H

#include <stdbool.h>
#include <stdint.h>

#define IPV4_TEXT 20 /* "255.255.255.255/32" and its end */

bool ipv4_parse(const char *text, uint32_t *ret);                            /* "10.0.0.1" */
bool ipv4_cidr_parse(const char *text, uint32_t *ret, unsigned *ret_prefix); /* "10.0.0.1/24" */
void ipv4_format(uint32_t address, char ret[IPV4_TEXT]);
void ipv4_cidr_format(uint32_t address, unsigned prefix, char ret[IPV4_TEXT]);
/* The bits that tell hosts of one network apart; prefix 0 to 32. */
uint32_t ipv4_host_mask(unsigned prefix);

/* Checks for definitions: an address with its prefix that a machine can have; one without. */
bool ipv4_interface_ok(const char *text);
bool ipv4_address_ok(const char *text);

#endif
