/*
 * The decoders of small bodies: images, tokens, tickets, sign-ins, knobs.
 */
#include "api/codec/codec.h"
#include "service/json/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct doc_limits limits = {.bytes = 65536, .depth = 16, .tokens = 4096};
    auto_image_request struct codec_image_request image = {0};
    auto_token_request struct codec_token_request token = {0};
    auto_ticket_request struct codec_ticket_request ticket = {0};
    auto_ticket_lookup struct codec_ticket_lookup lookup = {0};
    auto_sign_in struct codec_sign_in sign_in = {0};
    struct ksm_tuner_patch knobs = {0};
    auto_json json_t *body = NULL;
    struct error err;

    if (size > 65536 || doc_parse((const char *)data, size, &limits, &body, &err))
        return 0;
    (void)!codec_decode_image(body, &image, &err);
    (void)!codec_decode_token(body, &token, &err);
    (void)!codec_decode_ticket(body, &ticket, &err);
    (void)!codec_decode_ticket_lookup(body, &lookup, &err);
    (void)!codec_decode_sign_in(body, &sign_in, &err);
    (void)!codec_decode_ksm(body, &knobs, &err);
    return 0;
}
