/* Definitions from files. See manifest.h for what one is. */
#include "service/cli/manifest_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/yamldoc.h"

#define FILE_MAX ((size_t)32 << 20) /* a hundred VMs with all the user data a VM may have */

static int read_stream(FILE *file, const char *name, struct strbuf *text, struct failure *fail)
{
    char piece[8192];
    size_t n;

    while ((n = fread(piece, 1, sizeof(piece), file)) > 0) {
        if (text->len + n > FILE_MAX)
            return failure_set(fail, CLI_USAGE, "%s is larger than %zu MiB", name, FILE_MAX >> 20);
        strbuf_add(text, piece, n);
    }
    return ferror(file) ? failure_errno(fail, CLI_USAGE, errno, "cannot read %s", name) : 0;
}

/* Adds the documents of a file to documents; one that is a list stands for its elements. */
static int read_file(const char *path, json_t *documents, struct failure *fail)
{
    bool is_stdin = str_eq(path, "-");
    const char *name = is_stdin ? "standard input" : path;
    auto_fclose FILE *opened = is_stdin ? NULL : fopen(path, "rbe");
    auto_strbuf struct strbuf text = {0};
    auto_value json_t *read = NULL;
    json_t *document;
    size_t i;

    if (!is_stdin && !opened)
        return failure_errno(fail, CLI_USAGE, errno, "cannot open %s", path);
    if (read_stream(is_stdin ? stdin : opened, name, &text, fail) ||
        yamldoc_read(name, text.data ? text.data : "", text.len, &read, fail))
        return -1;
    json_array_foreach(read, i, document) {
        if (json_is_array(document))
            json_array_extend(documents, document);
        else
            json_array_append(documents, document);
    }
    return 0;
}

void files_done(struct files *f)
{
    json_decref(f->documents);
    free(f->definition);
}

int files_read(const struct args *args, struct files *f, struct failure *fail)
{
    const char *path;
    int state = 0;

    f->documents = json_array();
    if (!args_flag(args, "file"))
        return failure_set(fail, CLI_USAGE, "name the file: -f FILE, or -f - for standard input");
    while ((path = args_next(args, "file", &state))) {
        if (read_file(path, f->documents, fail))
            return -1;
    }
    f->definition = xcalloc(json_array_size(f->documents) + 1, sizeof(*f->definition));
    for (; f->count < json_array_size(f->documents); f->count++) {
        auto_free char *where = xasprintf("document %zu", f->count + 1);
        struct definition *d = &f->definition[f->count];

        if (definition_read(json_array_get(f->documents, f->count), where, d, fail))
            return -1;
        for (size_t i = 0; i < f->count; i++) {
            if (f->definition[i].kind == d->kind && str_eq(f->definition[i].name, d->name))
                return failure_set(fail, CLI_USAGE, "%s: %s/%s was defined before", where, d->kind->name,
                                   d->name);
        }
    }
    definitions_sort(f->definition, f->count);
    return 0;
}
