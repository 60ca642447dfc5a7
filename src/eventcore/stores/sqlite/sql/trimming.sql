-- What a log that is trimmed has besides: made by its first trim, so that no other log pays for it.

-- name: create_trimmed
-- Ids and positions of the events that were moved to an archive: they are never given again.
CREATE TABLE IF NOT EXISTS eventcore_log_trimmed (
    event_id TEXT    PRIMARY KEY,               -- canonical UUID, 36 characters
    position INTEGER NOT NULL                   -- place in the whole log
) STRICT, WITHOUT ROWID;

-- name: create_trims
-- How far the log was trimmed: one row.
CREATE TABLE IF NOT EXISTS eventcore_log_trims (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    until   INTEGER NOT NULL,                   -- the highest position that was removed
    archive TEXT    NOT NULL                    -- URL of the archive that holds everything up to there
) STRICT;

-- name: create_trimmed_refuses_update
CREATE TRIGGER IF NOT EXISTS eventcore_log_trimmed_refuses_update BEFORE UPDATE ON eventcore_log_trimmed
BEGIN
    SELECT RAISE(ABORT, 'eventcore_log_trimmed is immutable');
END;

-- name: create_trimmed_refuses_delete
CREATE TRIGGER IF NOT EXISTS eventcore_log_trimmed_refuses_delete BEFORE DELETE ON eventcore_log_trimmed
BEGIN
    SELECT RAISE(ABORT, 'eventcore_log_trimmed is immutable');
END;

-- name: create_log_refuses_trimmed
-- An event that was trimmed is stored, if elsewhere.
CREATE TRIGGER IF NOT EXISTS eventcore_log_refuses_trimmed BEFORE INSERT ON eventcore_log
WHEN EXISTS (SELECT 1 FROM eventcore_log_trimmed WHERE event_id = NEW.event_id)
BEGIN
    SELECT RAISE(ABORT, 'eventcore_log: an event of this id was trimmed');
END;

-- name: drop_log_refuses_delete
DROP TRIGGER eventcore_log_refuses_delete;

-- name: create_log_refuses_delete
-- The door: only an event that was noted as trimmed, the oldest of its stream, and never the newest one.
CREATE TRIGGER eventcore_log_refuses_delete BEFORE DELETE ON eventcore_log
WHEN NOT EXISTS (SELECT 1 FROM eventcore_log_trimmed WHERE event_id = OLD.event_id AND position = OLD.position)
  OR NOT EXISTS (SELECT 1 FROM eventcore_log WHERE stream = OLD.stream AND version > OLD.version)
  OR EXISTS (SELECT 1 FROM eventcore_log WHERE stream = OLD.stream AND version < OLD.version)
BEGIN
    SELECT RAISE(ABORT, 'eventcore_log is immutable: events are never deleted, only trimmed into an archive');
END;

-- name: select_trims_table
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'eventcore_log_trims';

-- name: select_trims
SELECT until, archive FROM eventcore_log_trims;

-- name: select_trimmed
SELECT event_id, position FROM eventcore_log_trimmed WHERE event_id IN (SELECT value FROM json_each(?1));

-- name: insert_trimmed
INSERT INTO eventcore_log_trimmed (event_id, position) VALUES (?, ?);

-- name: delete_event
-- By everything that is known of it: an event that differs from the archive's stays.
DELETE FROM eventcore_log
WHERE position = ? AND stream = ? AND version = ? AND type = ? AND event_id = ? AND state = ?;

-- name: upsert_trims
INSERT INTO eventcore_log_trims (id, until, archive) VALUES (1, ?, ?)
ON CONFLICT (id) DO UPDATE SET until = max(until, excluded.until), archive = excluded.archive;
