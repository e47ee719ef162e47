/* A note in a domain's metadata, which others may have written, is read or refused; what is read can be kept. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *text = xstrndup((const char *)data, size < 65536 ? size : 65536);
    struct error err = ERROR_INIT;
    struct vm_note note;

    if (vm_note_read(text, &note, &err) == 0) {
        auto_free char *spec = vm_spec_stored_text(note.spec);

        if (!*note.project_id || !*spec || (note.has_image && !*note.image.id))
            abort();
    }
    vm_note_done(&note);
    return 0;
}
