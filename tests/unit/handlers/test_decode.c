/*
 * Small bodies and headers to values: what is taken, what is refused, and where it is at fault.
 */
#include "service/json/doc.h"
#include "tests/support/test.h"
#include "tests/unit/handlers/fakes.h"

/* The pointer a body is refused with, or "taken". */
#define REFUSED_AT(kind, body)                                                                     \
    ({                                                                                             \
        auto_json json_t *o_ = json_loads(body, JSON_DECODE_ANY, NULL);                            \
        static struct error err_;                                                                  \
        err_ = ERROR_INIT;                                                                         \
        auto_scope(done_##kind) struct BODY_##kind r_ = {0};                                      \
        CHECK(o_);                                                                                 \
        decode_##kind(o_, &r_, &err_) ? err_.pointer : "taken";                                    \
    })

#define BODY_image_request   codec_image_request
#define BODY_token_request   codec_token_request
#define BODY_ticket_request  codec_ticket_request
#define BODY_sign_in         codec_sign_in
#define BODY_ksm_tuner_patch ksm_tuner_patch
#define KIND(kind, fn, done)                                                                       \
    static int decode_##kind(const json_t *o, struct BODY_##kind *r, struct error *err)           \
    {                                                                                              \
        int rc = fn(o, r, err);                                                                    \
                                                                                                   \
        if (rc && err->code != ERROR_VALIDATION_FAILED)                                            \
            abort();                                                                               \
        return rc;                                                                                 \
    }                                                                                              \
    static void done_##kind(struct BODY_##kind *r)                                                \
    {                                                                                              \
        done(r);                                                                                   \
    }                                                                                              \
    struct kind_##kind##_needs_semicolon

static void nothing(struct ksm_tuner_patch *k)
{
    (void)k;
}

KIND(image_request, codec_decode_image, codec_image_request_done);
KIND(token_request, codec_decode_token, codec_token_request_done);
KIND(ticket_request, codec_decode_ticket, codec_ticket_request_done);
KIND(sign_in, codec_decode_sign_in, codec_sign_in_done);
KIND(ksm_tuner_patch, codec_decode_ksm, nothing);

TEST(images)
{
    CHECK_STR(REFUSED_AT(image_request, "{\"name\":\"a\",\"kind\":\"disk\",\"format\":\"raw\"}"),
              "taken");
    CHECK_STR(REFUSED_AT(image_request,
                         "{\"name\":\"a\",\"kind\":\"kernel\",\"format\":null,\"cmdline\":\"x\"}"),
              "taken");
    CHECK_STR(REFUSED_AT(image_request, "{\"name\":\"a\",\"kind\":\"iso\"}"), "taken");
    CHECK_STR(REFUSED_AT(image_request, "{\"kind\":\"iso\"}"), "/name");
    CHECK_STR(REFUSED_AT(image_request, "{\"name\":\"A\",\"kind\":\"iso\"}"), "/name");
    CHECK_STR(REFUSED_AT(image_request, "{\"name\":\"a\"}"), "/kind");
    CHECK_STR(REFUSED_AT(image_request, "{\"name\":\"a\",\"kind\":\"disk\"}"), "/format");
    CHECK_STR(REFUSED_AT(image_request, "{\"name\":\"a\",\"kind\":\"iso\",\"format\":\"raw\"}"),
              "/format");
    CHECK_STR(REFUSED_AT(image_request, "{\"name\":\"a\",\"kind\":\"disk\",\"format\":\"vmdk\"}"),
              "/format");
    CHECK_STR(REFUSED_AT(image_request, "{\"name\":\"a\",\"kind\":\"disk\",\"format\":1}"),
              "/format");
    CHECK_STR(REFUSED_AT(image_request, "{\"name\":\"a\",\"kind\":\"iso\",\"cmdline\":\"x\"}"),
              "/cmdline");
    CHECK_STR(REFUSED_AT(image_request, "{\"name\":\"a\",\"kind\":\"iso\",\"source\":{}}"),
              "/source/url");
    CHECK_STR(REFUSED_AT(image_request, "[]"), "");
}

TEST(an_image_keeps_kind_and_format)
{
    auto_json json_t *o =
        json_loads("{\"name\":\"a\",\"kind\":\"disk\",\"format\":\"qcow2\"}", 0, NULL);
    auto_image_request struct codec_image_request r = {0};
    struct error err;

    CHECK_OK(codec_decode_image(o, &r, &err));
    CHECK_INT(r.kind, IMAGE_DISK);
    CHECK_INT(r.format, IMAGE_FORMAT_QCOW2);
}

TEST(tokens)
{
    CHECK_STR(REFUSED_AT(token_request, "{\"name\":\"a\",\"role\":\"viewer\"}"), "taken");
    CHECK_STR(
        REFUSED_AT(token_request,
                   "{\"name\":\"a\",\"role\":\"admin\",\"scopes\":[],\"expires_in_seconds\":null}"),
        "taken");
    CHECK_STR(REFUSED_AT(token_request, "{\"name\":\"\",\"role\":\"admin\"}"), "/name");
    CHECK_STR(REFUSED_AT(token_request, "{\"name\":\"a\",\"role\":\"root\"}"), "/role");
    CHECK_STR(REFUSED_AT(token_request,
                         "{\"name\":\"a\",\"role\":\"admin\",\"scopes\":[\"vm:read\",\"vm:fly\"]}"),
              "/scopes/1");
    CHECK_STR(REFUSED_AT(token_request, "{\"name\":\"a\",\"role\":\"admin\",\"scopes\":[null]}"),
              "/scopes/0");
    CHECK_STR(
        REFUSED_AT(token_request,
                   "{\"name\":\"a\",\"role\":\"admin\",\"scopes\":[\"vm:read\",\"vm:read\"]}"),
        "/scopes/1");
    CHECK_STR(REFUSED_AT(token_request, "{\"name\":\"a\",\"role\":\"admin\",\"scopes\":{}}"),
              "/scopes");
    CHECK_STR(
        REFUSED_AT(token_request, "{\"name\":\"a\",\"role\":\"admin\",\"expires_in_seconds\":0}"),
        "/expires_in_seconds");
    CHECK_STR(REFUSED_AT(token_request,
                         "{\"name\":\"a\",\"role\":\"admin\",\"expires_in_seconds\":99999999999}"),
              "/expires_in_seconds");
}

TEST(scopes_become_bits)
{
    auto_json json_t *o = json_loads(
        "{\"name\":\"a\",\"role\":\"operator\",\"scopes\":[\"token:write\",\"vm:read\"]}", 0, NULL);
    auto_token_request struct codec_token_request r = {0};
    struct error err;

    CHECK_OK(codec_decode_token(o, &r, &err));
    CHECK_INT(r.role, ACCESS_OPERATOR);
    CHECK_INT(r.scopes, ACCESS_TOKEN_WRITE | ACCESS_VM_READ);
}

TEST(tickets)
{
    CHECK_STR(REFUSED_AT(ticket_request, "{\"vm\":\"a\",\"stream\":\"console\"}"), "taken");
    CHECK_STR(
        REFUSED_AT(ticket_request, "{\"vm\":\"a\",\"stream\":\"channels/x\",\"mode\":\"view\"}"),
        "taken");
    CHECK_STR(REFUSED_AT(ticket_request, "{\"stream\":\"console\"}"), "/vm");
    CHECK_STR(REFUSED_AT(ticket_request, "{\"vm\":\"a\"}"), "/stream");
    CHECK_STR(REFUSED_AT(ticket_request, "{\"vm\":\"a\",\"stream\":\"channels/\"}"), "/stream");
    CHECK_STR(REFUSED_AT(ticket_request, "{\"vm\":\"a\",\"stream\":\"display\"}"), "taken");
    CHECK_STR(REFUSED_AT(ticket_request, "{\"vm\":\"a\",\"stream\":\"serial/3\"}"), "taken");
    CHECK_STR(REFUSED_AT(ticket_request, "{\"vm\":\"a\",\"stream\":\"serial/4\"}"), "/stream");
    CHECK_STR(REFUSED_AT(ticket_request, "{\"vm\":\"a\",\"stream\":\"vsock/4294967294\"}"), "taken");
    CHECK_STR(REFUSED_AT(ticket_request, "{\"vm\":\"a\",\"stream\":\"vsock/0\"}"), "/stream");
    CHECK_STR(REFUSED_AT(ticket_request, "{\"vm\":\"a\",\"stream\":\"vsock/4294967295\"}"), "/stream");
    CHECK_STR(REFUSED_AT(ticket_request, "{\"vm\":\"a\",\"stream\":\"console\",\"mode\":\"own\"}"),
              "/mode");
}

TEST(sign_ins)
{
    CHECK_STR(REFUSED_AT(sign_in, "{\"code\":\"a\"}"), "taken");
    CHECK_STR(REFUSED_AT(sign_in, "{\"token\":\"a\"}"), "taken");
    CHECK_STR(REFUSED_AT(sign_in, "{}"), "");
    CHECK_STR(REFUSED_AT(sign_in, "{\"code\":\"a\",\"token\":\"b\"}"), "");
    CHECK_STR(REFUSED_AT(sign_in, "{\"code\":\"\"}"), "/code");
    CHECK_STR(REFUSED_AT(sign_in, "{\"password\":\"x\"}"), "/password");
}

TEST(knobs)
{
    auto_json json_t *o = json_loads("{\"knobs\":{\"run\":0,\"pages_to_scan\":500}}", 0, NULL);
    struct ksm_tuner_patch k = {0};
    struct error err;

    CHECK_OK(codec_decode_ksm(o, &k, &err));
    CHECK(k.has_knob[HOST_KSM_run] && k.knob[HOST_KSM_run] == 0);
    CHECK(k.has_knob[HOST_KSM_pages_to_scan] && k.knob[HOST_KSM_pages_to_scan] == 500);
    CHECK(!k.has_knob[HOST_KSM_sleep_millisecs] && !k.has_knob[HOST_KSM_pages_shared]);
    CHECK_STR(REFUSED_AT(ksm_tuner_patch, "{}"), "/knobs");
    CHECK_STR(REFUSED_AT(ksm_tuner_patch, "{\"knobs\":{\"pages_shared\":1}}"), "/knobs/pages_shared");
    CHECK_STR(REFUSED_AT(ksm_tuner_patch, "{\"knobs\":{\"run\":-1}}"), "/knobs/run");
    CHECK_STR(REFUSED_AT(ksm_tuner_patch, "{\"knobs\":{\"run\":null}}"), "/knobs/run");
    CHECK_STR(REFUSED_AT(ksm_tuner_patch, "{\"tuner\":{\"mode\":\"fast\"}}"), "/tuner/mode");
    CHECK_STR(REFUSED_AT(ksm_tuner_patch, "{\"tuner\":{\"cpu_percent\":0}}"), "/tuner/cpu_percent");
    CHECK_STR(REFUSED_AT(ksm_tuner_patch, "{\"tuner\":{\"mode\":\"auto\",\"boost_cpu_percent\":80}}"),
              "taken");
}

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define EMPTY_BASE64 "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

TEST(content_digests)
{
    static const struct {
        const char *header;
        int found; /* -1: refused */
    } rows[] = {
        {NULL, 0},
        {"", 0},
        {"sha-256=:" EMPTY_BASE64 ":", 1},
        {"md5=:AAAA:, sha-256=:" EMPTY_BASE64 ":", 1},
        {" sha-256=:" EMPTY_BASE64 ":;x=1", 1},
        {"sha-512=:AAAA:", 0},
        {"xsha-256=:" EMPTY_BASE64 ":", 0},
        {"sha-256=:" EMPTY_BASE64, -1},
        {"sha-256=::", -1},
        {"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU:", -1},
        {"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=:", -1}, /* bits left over */
        {"sha-256=:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=:", -1}, /* the other alphabet */
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char hex[SECRET_SHA256_TEXT] = "";
        bool found = false;
        struct error err;
        int rc = codec_content_digest(rows[i].header, hex, &found, &err);

        CHECK_INT(rc ? -1 : found, rows[i].found);
        if (rows[i].found == 1)
            CHECK_STR(hex, EMPTY_SHA256);
        if (rc)
            CHECK_STR(err.pointer, "Content-Digest");
    }
}

TEST_MAIN();
