/* Holding, asking for and taking a console: what is told, and what the keys do. */
#include "service/cli/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"

void control_done(struct control *c)
{
    json_decref(c->viewers);
    c->viewers = NULL;
}

void control_reset(struct control *c)
{
    control_done(c);
    c->live = c->prefixed = c->told_refused = false;
    c->own[0] = c->holder[0] = c->asker[0] = c->text[0] = '\0';
}

static void __attribute__((format(printf, 2, 3))) say(const struct control *c, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->say(c->opaque, text);
}

/* What people call a viewer. */
static const char *name_of(const struct control *c, const char *id)
{
    const json_t *viewer;
    size_t i;

    if (str_eq(id, c->own))
        return "you";
    json_array_foreach(value_at(c->viewers, "viewers"), i, viewer)
    {
        const char *name = value_text(viewer, "name", "");

        if (str_eq(value_text(viewer, "id", ""), id) && *name)
            return name;
    }
    return id;
}

static void tell(const struct control *c)
{
    const char *key = c->key_name;

    if (!*c->holder)
        say(c, "[nobody holds the console: type, and you do]");
    else if (!str_eq(c->holder, c->own))
        say(c, "[%s holds the console%s; %s r asks for it, %s t takes it]", name_of(c, c->holder),
            c->exclusive ? " alone" : "", key, key);
    else if (*c->asker)
        say(c, "[%s asks for the console; %s g grants it]", name_of(c, c->asker), key);
    else
        say(c, "[you hold the console%s; %s l lets it go]", c->exclusive ? " alone" : "", key);
}

static void set_id(char ret[CONTROL_ID_MAX], const char *id)
{
    str_copy_utf8(ret, CONTROL_ID_MAX, id);
}

static void on_hello(struct control *c, const json_t *message)
{
    c->live = true;
    set_id(c->own, value_text(message, "id", ""));
    set_id(c->holder, value_text(message, "holder", ""));
    c->exclusive = value_true(message, "exclusive");
    c->views = str_eq(value_text(message, "mode", ""), "view");
    if (!c->views && *c->holder && !str_eq(c->holder, c->own))
        tell(c);
}

static void on_change(struct control *c, const json_t *message)
{
    char holder[CONTROL_ID_MAX], asker[CONTROL_ID_MAX] = "";
    const json_t *requests = value_at(message, "requests");
    bool news;

    set_id(holder, value_text(message, "holder", ""));
    if (json_array_size(requests)) {
        const json_t *first = json_array_get(requests, 0);

        set_id(asker, json_is_string(first) ? json_string_value(first) : value_text(first, "id", ""));
    }
    /* The first to type holds it, which is no news to who types alone. */
    news = (strcmp(holder, c->holder) != 0 && !(!*c->holder && str_eq(holder, c->own))) ||
           (strcmp(asker, c->asker) != 0 && str_eq(holder, c->own) && *asker);
    memcpy(c->holder, holder, sizeof(holder));
    memcpy(c->asker, asker, sizeof(asker));
    c->exclusive = value_true(message, "exclusive");
    c->told_refused = false;
    if (news && !c->views)
        tell(c);
}

static void on_error(struct control *c, const json_t *message)
{
    if (str_eq(value_text(message, "code", ""), "not-holder")) {
        if (!c->told_refused) /* once, not for every key */
            tell(c);
        c->told_refused = true;
        return;
    }
    say(c, "[%s]", value_text(message, "detail", "the server refused"));
}

void control_message(struct control *c, const json_t *message)
{
    const char *type = value_text(message, "type", "");

    if (str_eq(type, "hello")) {
        on_hello(c, message);
    } else if (str_eq(type, "viewers")) {
        json_decref(c->viewers);
        c->viewers = json_incref((json_t *)(uintptr_t)message);
    } else if (str_eq(type, "control")) {
        on_change(c, message);
    } else if (str_eq(type, "error")) {
        on_error(c, message);
    }
}

static void who(const struct control *c)
{
    const json_t *viewer;
    size_t i;

    tell(c);
    json_array_foreach(value_at(c->viewers, "viewers"), i, viewer)
    {
        const char *id = value_text(viewer, "id", "");

        say(c, "[%s%s, %s]", value_text(viewer, "name", id), str_eq(id, c->own) ? " (you)" : "",
            str_eq(value_text(viewer, "mode", ""), "view") ? "watches" : "may type");
    }
}

static void send_text(struct control *c, const char *text)
{
    str_copy_utf8(c->text, sizeof(c->text), text);
}

static void grant(struct control *c)
{
    if (!*c->asker || strpbrk(c->asker, "\"\\"))
        say(c, "[nobody asks for the console]");
    else
        snprintf(c->text, sizeof(c->text), "{\"type\": \"grant-control\", \"to\": \"%s\"}", c->asker);
}

/* False: no command; the key is meant for the guest. */
static bool command(struct control *c, char key)
{
    switch (key) {
    case 'r':
        send_text(c, "{\"type\": \"request-control\"}");
        return true;
    case 't':
        send_text(c, "{\"type\": \"take-control\"}");
        return true;
    case 'x':
        send_text(c, "{\"type\": \"take-control\", \"exclusive\": true}");
        return true;
    case 'l':
        send_text(c, "{\"type\": \"release-control\"}");
        return true;
    case 'g':
        grant(c);
        return true;
    case 'w':
        who(c);
        return true;
    default:
        if (key == (char)c->key)
            return false;
        say(c, "[%s r asks, t takes, x takes alone, g grants, l lets go, w says who; twice sends it]",
            c->key_name);
        return true;
    }
}

size_t control_keys(struct control *c, char *data, size_t len)
{
    size_t left = 0;

    if (c->key == CONTROL_NO_KEY || !c->live)
        return len;
    for (size_t i = 0; i < len; i++) {
        if (!c->prefixed && data[i] == (char)c->key) {
            c->prefixed = true;
            continue;
        }
        if (!c->prefixed || !command(c, data[i]))
            data[left++] = data[i];
        c->prefixed = false;
    }
    return left;
}

const char *control_next_text(struct control *c)
{
    static char text[sizeof(c->text)];

    if (!*c->text)
        return NULL;
    memcpy(text, c->text, sizeof(text));
    c->text[0] = '\0';
    return text;
}
