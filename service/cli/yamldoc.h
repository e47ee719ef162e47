/*
 * YAML documents as JSON values, and back. The only place of the command that speaks to libyaml.
 *
 * What is read is YAML 1.2's core schema: true, false, null, numbers; `yes`, `on` and times are
 * strings, and so is a number with a leading zero, which versions of YAML read differently. Anchors
 * and aliases are refused (a few lines of them can stand for gigabytes), and so are tags but !!str,
 * keys that come twice and deep nesting. JSON, one document after the other, is read as JSON.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_YAMLDOC_H
#define DROVER_CLI_YAMLDOC_H

#include <stdbool.h>
#include <stdio.h>

#include "service/cli/failure.h"
#include "service/cli/value.h"

#define YAMLDOC_DEPTH_MAX 64

/*
 * The documents of a text, in an array that is the caller's; empty ones are left out. name: what
 * failures call the text.
 */
int yamldoc_read(const char *name, const char *text, size_t len, json_t **ret, struct failure *fail);

/* Writes one document; separator: with "---" before it. False when it cannot be written. */
bool yamldoc_write(const json_t *value, bool separator, FILE *out);

#endif
