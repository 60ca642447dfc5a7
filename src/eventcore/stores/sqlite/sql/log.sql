-- Statements on the log.

-- name: insert_event
INSERT INTO eventcore_log (stream, version, type, event_id, state) VALUES (?, ?, ?, ?, ?);

-- name: last_position_written
SELECT last_insert_rowid();

-- name: select_log_triggers
SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'eventcore_log';

-- name: select_log_indexes
SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'eventcore_log' AND sql LIKE 'CREATE UNIQUE%';

-- name: select_stream_version
SELECT version FROM eventcore_log WHERE stream = ? ORDER BY version DESC LIMIT 1;

-- name: select_head
SELECT max(position) FROM eventcore_log;

-- name: select_stream_forwards
SELECT position, stream, version, type, state FROM eventcore_log
WHERE stream = ?1 AND version > ?2 AND version <= ?3 ORDER BY version LIMIT ?4;

-- name: select_stream_backwards
SELECT position, stream, version, type, state FROM eventcore_log
WHERE stream = ?1 AND version > ?2 AND version <= ?3 ORDER BY version DESC LIMIT ?4;

-- name: select_stream_rows
-- The same forwards without the stream's name, which whoever asks knows: for rebuilding state fast.
SELECT position, version, type, state FROM eventcore_log
WHERE stream = ?1 AND version > ?2 AND version <= ?3 ORDER BY version LIMIT ?4;

-- name: select_page
SELECT position, stream, version, type, state FROM eventcore_log
WHERE position > ?1 ORDER BY position LIMIT ?2;

-- name: select_page_where
-- Bounded by the head so that the page's end is true of what was looked at; sets of names as JSON arrays.
SELECT position, stream, version, type, state FROM eventcore_log
WHERE position > ?1 AND position <= ?3
  AND (?4 IS NULL OR type IN (SELECT value FROM json_each(?4)))
  AND (?5 IS NULL OR substr(stream, 1, instr(stream, '-') - 1) IN (SELECT value FROM json_each(?5)))
ORDER BY position LIMIT ?2;

-- name: select_page_packed
-- Pages in one row, a column in one value each: all the work is done in one step of SQLite, during which
-- other threads run. Control characters are no part of JSON: a state holds no 1f, or is not taken this way.
SELECT json_group_array(position), json_group_array(stream), json_group_array(version),
    json_group_array(type), CAST(group_concat(state, x'1f') AS BLOB), sum(length(state))
FROM (SELECT position, stream, version, type, state FROM eventcore_log
      WHERE position > ?1 ORDER BY position LIMIT ?2);

-- name: select_page_where_packed
SELECT json_group_array(position), json_group_array(stream), json_group_array(version),
    json_group_array(type), CAST(group_concat(state, x'1f') AS BLOB), sum(length(state))
FROM (SELECT position, stream, version, type, state FROM eventcore_log
      WHERE position > ?1 AND position <= ?3
        AND (?4 IS NULL OR type IN (SELECT value FROM json_each(?4)))
        AND (?5 IS NULL OR substr(stream, 1, instr(stream, '-') - 1) IN (SELECT value FROM json_each(?5)))
      ORDER BY position LIMIT ?2);

-- name: select_by_event_ids
SELECT position, stream, version, type, state, event_id FROM eventcore_log
WHERE event_id IN (SELECT value FROM json_each(?1));

-- name: select_ids
-- Each event with its id, which is in its state, too.
SELECT position, event_id, state FROM eventcore_log WHERE position <= ?1 ORDER BY position;

-- name: select_snapshot
SELECT stream, version, fingerprint, state FROM eventcore_snapshots WHERE stream = ?;

-- name: upsert_snapshot
INSERT INTO eventcore_snapshots (stream, version, fingerprint, state) VALUES (?, ?, ?, ?)
ON CONFLICT (stream) DO UPDATE SET
    version = excluded.version, fingerprint = excluded.fingerprint, state = excluded.state
WHERE excluded.version > eventcore_snapshots.version
   OR excluded.fingerprint <> eventcore_snapshots.fingerprint;

-- name: select_stream_versions
SELECT value, (SELECT max(version) FROM eventcore_log WHERE stream = value) FROM json_each(?1);

-- name: select_refusals
SELECT event_id, digest, reason, message FROM eventcore_refusals
WHERE event_id IN (SELECT value FROM json_each(?1));

-- name: select_refusals_after
SELECT event_id, digest, reason, message FROM eventcore_refusals
WHERE (event_id, digest) > (?1, ?2)
ORDER BY event_id, digest LIMIT ?3;

-- name: upsert_refusal
INSERT INTO eventcore_refusals (event_id, digest, reason, message) VALUES (?, ?, ?, ?)
ON CONFLICT (event_id, digest) DO UPDATE SET
    reason = excluded.reason, message = excluded.message;
