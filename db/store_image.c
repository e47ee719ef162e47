/* Images and the files that hold their bytes. */
#include "db/db_internal.h"

static void bind_changeable(struct stmt *s, const struct image_row *row)
{
    stmt_text(s, ":id", row->id);
    stmt_text(s, ":name", row->name);
    stmt_text(s, ":format", row->format);
    stmt_text(s, ":cmdline", row->cmdline);
    stmt_text(s, ":description", row->description);
    stmt_text(s, ":state", row->state);
    stmt_text(s, ":state_reason", row->state_reason);
    stmt_text(s, ":source", row->source);
    stmt_text(s, ":card", row->card);
    stmt_text(s, ":screenshot", row->screenshot);
    stmt_int(s, ":revision", row->revision);
    stmt_int(s, ":updated_at", row->updated_at);
}

static int name_in_use(const char *name, struct error *err)
{
    return error_set(err, ERROR_NAME_IN_USE, "there is already an image called %s", name);
}

static int not_found(const char *id, struct error *err)
{
    return error_set(err, ERROR_IMAGE_NOT_FOUND, "there is no image %s", id);
}

/* A conflict over the name or over an id that was drawn twice? */
static int explain_conflict(struct db_tx *tx, const struct image_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IMAGE_NAME_TAKEN);
    struct error ignored;

    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":name", row->name);
    stmt_text(&s, ":id", row->id);
    return stmt_row(&s, &ignored) > 0 ? name_in_use(row->name, err) : -1;
}

/* Images and labels are found by the same names. */
static int check_no_label(struct db_tx *tx, const struct image_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IMAGE_LABEL_TAKEN);
    int rc;

    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":name", row->name);
    rc = stmt_row(&s, err);
    return rc > 0 ? error_set(err, ERROR_NAME_IN_USE, "there is a label called %s", row->name) : rc;
}

int store_image_insert(struct db_tx *tx, const struct image_row *row, int64_t *ret_seq,
                       struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IMAGE_INSERT);

    if (check_no_label(tx, row, err))
        return -1;
    bind_changeable(&s, row);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":host_id", row->host_id);
    stmt_text(&s, ":kind", row->kind);
    stmt_int(&s, ":created_at", row->created_at);
    if (stmt_run(&s, err))
        return s.rc == SQLITE_CONSTRAINT_UNIQUE ? explain_conflict(tx, row, err) : -1;
    *ret_seq = sqlite3_last_insert_rowid(tx->conn->sq);
    return 0;
}

int store_image_update(struct db_tx *tx, const struct image_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IMAGE_UPDATE);

    bind_changeable(&s, row);
    if (stmt_run(&s, err)) /* of what changes, only the name is unique */
        return s.rc == SQLITE_CONSTRAINT_UNIQUE ? name_in_use(row->name, err) : -1;
    return stmt_changes(&s) ? 0 : not_found(row->id, err);
}

int store_image_delete(struct db_tx *tx, const char *id, struct error *err)
{
    auto_stmt struct stmt forget = stmt_use(tx->conn, QUERY_IMAGE_FORGET);
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IMAGE_DELETE);

    stmt_text(&forget, ":id", id);
    stmt_text(&s, ":id", id);
    if (stmt_run(&forget, err))
        return -1;
    if (stmt_run(&s, err)) {
        if (s.rc == SQLITE_CONSTRAINT_FOREIGNKEY)
            return error_set(err, ERROR_IMAGE_IN_USE, "a VM still uses the image");
        return -1;
    }
    return stmt_changes(&s) ? 0 : not_found(id, err);
}

int store_image_file_put(struct db_tx *tx, const struct image_file_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IMAGE_FILE_PUT);

    stmt_text(&s, ":image_id", row->image_id);
    stmt_text(&s, ":role", row->role);
    stmt_text(&s, ":sha256", row->sha256);
    stmt_int(&s, ":size_bytes", row->size_bytes);
    stmt_int(&s, ":virtual_size_bytes", row->virtual_size_bytes);
    stmt_int(&s, ":verified_at", row->verified_at);
    stmt_int(&s, ":damaged_at", row->damaged_at);
    if (stmt_run(&s, err))
        return s.rc == SQLITE_CONSTRAINT_FOREIGNKEY ? not_found(row->image_id, err) : -1;
    return 0;
}

int store_image_each(struct db *db, int (*fn)(void *, const struct image_row *), void *arg,
                     struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_IMAGE_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct image_row row;

        row.seq = stmt_next_int(&s);
        row.id = stmt_next_text(&s);
        row.project_id = stmt_next_text(&s);
        row.host_id = stmt_next_text(&s);
        row.name = stmt_next_text(&s);
        row.kind = stmt_next_text(&s);
        row.format = stmt_next_text(&s);
        row.cmdline = stmt_next_text(&s);
        row.description = stmt_next_text(&s);
        row.state = stmt_next_text(&s);
        row.state_reason = stmt_next_text(&s);
        row.source = stmt_next_text(&s);
        row.card = stmt_next_text(&s);
        row.screenshot = stmt_next_text(&s);
        row.revision = stmt_next_int(&s);
        row.created_at = stmt_next_int(&s);
        row.updated_at = stmt_next_int(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

int store_image_file_each(struct db *db, int (*fn)(void *, const struct image_file_row *),
                          void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_IMAGE_FILE_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct image_file_row row;

        row.image_id = stmt_next_text(&s);
        row.role = stmt_next_text(&s);
        row.sha256 = stmt_next_text(&s);
        row.size_bytes = stmt_next_int(&s);
        row.virtual_size_bytes = stmt_next_int(&s);
        row.verified_at = stmt_next_int(&s);
        row.damaged_at = stmt_next_int(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

/* ---- labels ---- */

static int check_no_image(struct db_tx *tx, const struct image_label_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IMAGE_NAME_TAKEN);
    int rc;

    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":name", row->name);
    stmt_text(&s, ":id", "");
    rc = stmt_row(&s, err);
    return rc > 0 ? error_set(err, ERROR_NAME_IN_USE, "there is an image called %s", row->name) : rc;
}

int store_image_label_put(struct db_tx *tx, const struct image_label_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IMAGE_LABEL_PUT);

    if (check_no_image(tx, row, err))
        return -1;
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":name", row->name);
    stmt_int(&s, ":version", row->version);
    stmt_text(&s, ":image_id", row->image_id);
    stmt_int(&s, ":keep", row->keep);
    stmt_int(&s, ":created_at", row->created_at);
    if (stmt_run(&s, err))
        return s.rc == SQLITE_CONSTRAINT_FOREIGNKEY ? not_found(row->image_id, err) : -1;
    return 0;
}

int store_image_label_delete(struct db_tx *tx, const char *project_id, const char *name,
                             int64_t version, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IMAGE_LABEL_DELETE);

    stmt_text(&s, ":project_id", project_id);
    stmt_text(&s, ":name", name);
    stmt_int(&s, ":version", version);
    return stmt_run(&s, err);
}

int store_image_label_each(struct db *db, int (*fn)(void *, const struct image_label_row *),
                           void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_IMAGE_LABEL_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct image_label_row row;

        row.project_id = stmt_next_text(&s);
        row.name = stmt_next_text(&s);
        row.version = stmt_next_int(&s);
        row.image_id = stmt_next_text(&s);
        row.keep = stmt_next_int(&s);
        row.created_at = stmt_next_int(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}
