-- Labels that move from image to image, one row for each image a label pointed at; the highest
-- version is where it points now.
CREATE TABLE image_labels (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    name       TEXT    NOT NULL CHECK (name <> ''),
    version    INTEGER NOT NULL CHECK (version >= 1),
    image_id   TEXT    NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    keep       INTEGER NOT NULL CHECK (keep >= 0), -- versions that stay; 0: all
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    PRIMARY KEY (project_id, name, version)
) STRICT, WITHOUT ROWID;

CREATE INDEX image_labels_image ON image_labels (image_id);

-- When the bytes were last compared with their digest.
ALTER TABLE image_files ADD COLUMN verified_at INTEGER NOT NULL DEFAULT 0;
