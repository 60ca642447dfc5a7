-- How far each projection is, beside the tables of the read models.

-- name: create_checkpoints
CREATE TABLE IF NOT EXISTS eventcore_checkpoints (
    projection TEXT    PRIMARY KEY,             -- name of the projection
    position   INTEGER NOT NULL CHECK (position >= 0), -- every event up to it is applied, none above
    version    INTEGER NOT NULL CHECK (version > 0),   -- the projection's version that made the rows
    revision   INTEGER NOT NULL CHECK (revision > 0),  -- grows when rows change other than by events
    anchor_position INTEGER, -- of the last event at or below the position, NULL if not known
    anchor_event    TEXT,    -- id of that event: another log has another one there
    tables          TEXT     -- what was made for the projection: a JSON object, tables to their columns
) STRICT, WITHOUT ROWID;

-- name: set_aside
-- This and the next two: files in which checkpoints had no anchors yet.
ALTER TABLE eventcore_checkpoints RENAME TO eventcore_checkpoints_before;

-- name: take_over
INSERT INTO eventcore_checkpoints (projection, position, version, revision)
SELECT projection, position, version, revision FROM eventcore_checkpoints_before;

-- name: drop_before
DROP TABLE eventcore_checkpoints_before;

-- name: select_checkpoint
SELECT position, version, revision, anchor_position, anchor_event
FROM eventcore_checkpoints WHERE projection = ?;

-- name: select_tables
SELECT tables FROM eventcore_checkpoints WHERE projection = ?;

-- name: insert_checkpoint
INSERT INTO eventcore_checkpoints (projection, position, version, revision, tables)
VALUES (?1, 0, ?2, 1, ?3)
ON CONFLICT (projection) DO UPDATE SET tables = excluded.tables;

-- name: advance_checkpoint
-- Nothing is updated if another runner moved it in between.
UPDATE eventcore_checkpoints SET position = ?1, anchor_position = ?2, anchor_event = ?3
WHERE projection = ?4 AND position = ?5 AND version = ?6 AND revision = ?7;

-- name: reset_checkpoint
INSERT INTO eventcore_checkpoints (projection, position, version, revision, tables)
VALUES (?1, 0, ?2, 1, ?3)
ON CONFLICT (projection) DO UPDATE
SET position = 0, version = excluded.version, revision = revision + 1,
    anchor_position = NULL, anchor_event = NULL, tables = excluded.tables;

-- name: revise_checkpoint
UPDATE eventcore_checkpoints SET revision = revision + 1 WHERE projection = ?;

-- name: select_table
SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?;
