-- How far each projection is, beside the tables of the read models.

-- name: create_checkpoints
CREATE TABLE IF NOT EXISTS eventcore_checkpoints (
    projection TEXT    PRIMARY KEY,             -- name of the projection
    position   INTEGER NOT NULL CHECK (position >= 0), -- every event up to it is applied, none above
    version    INTEGER NOT NULL CHECK (version > 0),   -- the projection's version that made the rows
    revision   INTEGER NOT NULL CHECK (revision > 0),  -- grows when rows change other than by events
    anchor_position INTEGER, -- of the last event at or below the position, NULL if not known
    anchor_event    TEXT,    -- id of that event: another log has another one there
    tables          TEXT,    -- what was made for the projection: a JSON object, tables to their columns
    fingerprint     TEXT     -- of the definition that made the rows, NULL if not known
) STRICT, WITHOUT ROWID;

-- name: add_fingerprint
-- Files in which checkpoints had none yet.
ALTER TABLE eventcore_checkpoints ADD COLUMN fingerprint TEXT;

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

-- name: select_fingerprint
SELECT fingerprint FROM eventcore_checkpoints WHERE projection = ?;

-- name: select_tables
SELECT tables FROM eventcore_checkpoints WHERE projection = ?;

-- name: insert_checkpoint
INSERT INTO eventcore_checkpoints (projection, position, version, revision, tables, fingerprint)
VALUES (?1, 0, ?2, 1, ?3, ?4)
ON CONFLICT (projection) DO UPDATE
SET tables = excluded.tables, fingerprint = coalesce(fingerprint, excluded.fingerprint);

-- name: advance_checkpoint
-- Nothing is updated if another runner moved it in between.
UPDATE eventcore_checkpoints
SET position = ?1, anchor_position = ?2, anchor_event = ?3, revision = revision + ?4
WHERE projection = ?5 AND position = ?6 AND version = ?7 AND revision = ?8;

-- name: reset_checkpoint
INSERT INTO eventcore_checkpoints (projection, position, version, revision, tables, fingerprint)
VALUES (?1, 0, ?2, 1, ?3, ?4)
ON CONFLICT (projection) DO UPDATE
SET position = 0, version = excluded.version, revision = revision + 1, anchor_position = NULL,
    anchor_event = NULL, tables = excluded.tables, fingerprint = excluded.fingerprint;

-- name: accept_definition
UPDATE eventcore_checkpoints SET version = ?2, fingerprint = ?3 WHERE projection = ?1;

-- name: rename_checkpoint
UPDATE eventcore_checkpoints SET projection = ?2, revision = ?3, tables = ?4 WHERE projection = ?1;

-- name: delete_checkpoint
-- With its shares.
DELETE FROM eventcore_checkpoints
WHERE projection = ?1 OR substr(projection, 1, length(?1) + 1) = ?1 || '/';

-- name: select_index_table
SELECT tbl_name FROM sqlite_schema WHERE type = 'index' AND name = ?;

-- name: rename_names_only
-- Views of the application go on to name the table, rather than follow it.
PRAGMA legacy_alter_table = ON;

-- name: rename_as_usual
PRAGMA legacy_alter_table = OFF;

-- name: reset_shares
UPDATE eventcore_checkpoints
SET position = 0, revision = revision + 1, anchor_position = NULL, anchor_event = NULL
WHERE substr(projection, 1, length(?1) + 1) = ?1 || '/';

-- name: revise_checkpoint
-- Of the projection and of its shares.
UPDATE eventcore_checkpoints SET revision = revision + 1
WHERE projection = ?1 OR substr(projection, 1, length(?1) + 1) = ?1 || '/';

-- name: select_table
SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?;

-- name: begin_joined
SAVEPOINT eventcore_joined

-- name: undo_joined
ROLLBACK TO SAVEPOINT eventcore_joined

-- name: end_joined
RELEASE SAVEPOINT eventcore_joined
