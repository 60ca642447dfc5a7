-- How far each projection is, beside the tables of the read models.

-- name: create_checkpoints
CREATE TABLE IF NOT EXISTS eventcore_checkpoints (
    projection TEXT    PRIMARY KEY,             -- name of the projection
    position   INTEGER NOT NULL CHECK (position >= 0), -- every event up to it is applied, none above
    version    INTEGER NOT NULL CHECK (version > 0),   -- the projection's version that made the rows
    revision   INTEGER NOT NULL CHECK (revision > 0)   -- grows when rows change other than by events
) STRICT, WITHOUT ROWID;

-- name: select_checkpoint
SELECT position, version, revision FROM eventcore_checkpoints WHERE projection = ?;

-- name: insert_checkpoint
INSERT OR IGNORE INTO eventcore_checkpoints (projection, position, version, revision) VALUES (?, 0, ?, 1);

-- name: advance_checkpoint
-- Nothing is updated if another runner moved it in between.
UPDATE eventcore_checkpoints SET position = ?1
WHERE projection = ?2 AND position = ?3 AND version = ?4 AND revision = ?5;

-- name: reset_checkpoint
INSERT INTO eventcore_checkpoints (projection, position, version, revision) VALUES (?1, 0, ?2, 1)
ON CONFLICT (projection) DO UPDATE SET position = 0, version = excluded.version, revision = revision + 1;

-- name: revise_checkpoint
UPDATE eventcore_checkpoints SET revision = revision + 1 WHERE projection = ?;

-- name: select_table
SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?;
