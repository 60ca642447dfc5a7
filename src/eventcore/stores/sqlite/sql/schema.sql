-- The log and what lies beside it, in one SQLite file.

-- name: create_log
-- Every event, once, for ever.
CREATE TABLE IF NOT EXISTS eventcore_log (
    position INTEGER PRIMARY KEY CHECK (position > 0), -- place in the whole log, from 1, in commit order
    stream   TEXT    NOT NULL,                  -- category-id
    version  INTEGER NOT NULL CHECK (version > 0), -- place in the stream, from 1
    type     TEXT    NOT NULL,                  -- stored name, e.g. order.paid
    event_id TEXT    NOT NULL,                  -- canonical UUID, 36 characters
    state    BLOB    NOT NULL                   -- compact JSON: schema version, id, time, payload, context
) STRICT;

-- name: create_log_by_stream
-- Reads one stream, and keeps two writers from the same version.
CREATE UNIQUE INDEX IF NOT EXISTS eventcore_log_by_stream ON eventcore_log (stream, version);

-- name: create_log_by_event_id
-- Finds a repeated append or import.
CREATE UNIQUE INDEX IF NOT EXISTS eventcore_log_by_event_id ON eventcore_log (event_id);

-- name: create_log_refuses_update
CREATE TRIGGER IF NOT EXISTS eventcore_log_refuses_update BEFORE UPDATE ON eventcore_log
BEGIN
    SELECT RAISE(ABORT, 'eventcore_log is immutable: events are never updated');
END;

-- name: create_log_refuses_delete
CREATE TRIGGER IF NOT EXISTS eventcore_log_refuses_delete BEFORE DELETE ON eventcore_log
BEGIN
    SELECT RAISE(ABORT, 'eventcore_log is immutable: events are never deleted');
END;

-- name: create_log_refuses_replace
-- INSERT OR REPLACE removes the row in its way without asking the trigger above (unless the connection
-- says recursive_triggers). No position given: NEW.position is -1 here, which no row has.
CREATE TRIGGER IF NOT EXISTS eventcore_log_refuses_replace BEFORE INSERT ON eventcore_log
WHEN EXISTS (SELECT 1 FROM eventcore_log WHERE event_id = NEW.event_id)
  OR EXISTS (SELECT 1 FROM eventcore_log WHERE stream = NEW.stream AND version = NEW.version)
  OR EXISTS (SELECT 1 FROM eventcore_log WHERE position = NEW.position)
BEGIN
    SELECT RAISE(ABORT, 'eventcore_log is immutable: events are never replaced');
END;

-- name: create_log_json
-- Events as readable JSON, for the sqlite3 shell.
CREATE VIEW IF NOT EXISTS eventcore_log_json AS
SELECT position, stream, version, type, CAST(state AS TEXT) AS state FROM eventcore_log;

-- name: create_snapshots
-- The newest saved state of each aggregate; losing this table costs time, never truth.
CREATE TABLE IF NOT EXISTS eventcore_snapshots (
    stream      TEXT    PRIMARY KEY,
    version     INTEGER NOT NULL,               -- version of the stream the state was taken at
    fingerprint TEXT    NOT NULL,               -- names the fold that made it
    state       BLOB    NOT NULL                -- JSON of the aggregate
) STRICT, WITHOUT ROWID;

-- name: create_refusals
-- Imported events that a rule refused: a repeated import decides the same.
CREATE TABLE IF NOT EXISTS eventcore_refusals (
    event_id TEXT NOT NULL,                     -- canonical UUID, 36 characters
    digest   TEXT NOT NULL,                     -- of the content, hexadecimal
    reason   TEXT NOT NULL,                     -- stable code, e.g. email-taken
    message  TEXT NOT NULL,                     -- for a person; no personal values
    PRIMARY KEY (event_id, digest)
) STRICT, WITHOUT ROWID;
