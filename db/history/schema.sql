-- The history of figures, in a file of its own: it is large, losing it hurts nobody, and writing it
-- must never delay an answer that promises something. One row is a block of many points.
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS blocks (
    series INTEGER NOT NULL REFERENCES series (id),
    level INTEGER NOT NULL,
    start INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (series, level, start)
) WITHOUT ROWID;
