-- The history of figures, in a file of its own: it is large, losing it hurts nobody, and writing it
-- must never delay an answer that promises something. One row is a block of many points.
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
-- With a rowid: in a table without one a block of more than a kilobyte would spill to a page of its own.
CREATE TABLE IF NOT EXISTS points (
    series INTEGER NOT NULL REFERENCES series (id),
    level INTEGER NOT NULL,
    start INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (series, level, start)
);
-- Where they were kept before; what is there moves.
CREATE TABLE IF NOT EXISTS blocks (
    series INTEGER NOT NULL REFERENCES series (id),
    level INTEGER NOT NULL,
    start INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (series, level, start)
) WITHOUT ROWID;
INSERT OR IGNORE INTO points (series, level, start, data) SELECT series, level, start, data FROM blocks;
DROP TABLE blocks;
