-- Statements on the log. {schema} is the schema's quoted name.

-- name: append_event
-- One event. $2: the version it builds on, or NULL for whatever the stream has; no row: the stream moved.
INSERT INTO {schema}.eventcore_log (stream, version, type, event_id, state)
SELECT $1::text, last.version + 1, $3::text, $4::text::uuid, $5::bytea
FROM (SELECT coalesce((SELECT pg_catalog.max(version) FROM {schema}.eventcore_log WHERE stream = $1::text), 0) AS version
      OFFSET 0) AS last -- OFFSET 0: else the stream is looked up once for each mention of its version
WHERE $2::bigint IS NULL OR last.version = $2::bigint
RETURNING position, version;

-- name: append_stream
-- Events of one stream, all or none.
INSERT INTO {schema}.eventcore_log (stream, version, type, event_id, state)
SELECT $1::text, last.version + event.place, event.type, event.event_id::uuid, event.state
FROM (SELECT coalesce((SELECT pg_catalog.max(version) FROM {schema}.eventcore_log WHERE stream = $1::text), 0) AS version
      OFFSET 0) AS last -- OFFSET 0: else the stream is looked up once for each mention of its version
CROSS JOIN unnest($3::text[], $4::text[], $5::bytea[]) WITH ORDINALITY AS event (type, event_id, state, place)
WHERE $2::bigint IS NULL OR last.version = $2::bigint
ORDER BY event.place
RETURNING position, version;

-- name: append_streams_each
-- Events of many streams for as many callers: a stream that moved keeps its own events out, nobody else's.
-- $1, $2: each stream and the version asked for; $3, $4: of each event, the stream's place in $1 and its own in the stream.
WITH asked AS MATERIALIZED (
    SELECT head.place, head.stream, head.version AS wanted,
           coalesce((SELECT pg_catalog.max(log.version) FROM {schema}.eventcore_log AS log WHERE log.stream = head.stream), 0) AS found
    FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS head (stream, version, place)
)
INSERT INTO {schema}.eventcore_log (stream, version, type, event_id, state)
SELECT asked.stream, asked.found + event.step, event.type, event.event_id::uuid, event.state
FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bytea[]) WITH ORDINALITY
         AS event (head, step, type, event_id, state, place)
JOIN asked ON asked.place = event.head
WHERE asked.wanted IS NULL OR asked.wanted = asked.found
ORDER BY event.place
RETURNING position, version, event_id;

-- name: append_streams_all
-- Events of many streams for one caller: if one stream moved, nothing is written.
WITH asked AS MATERIALIZED (
    SELECT head.place, head.stream, head.version AS wanted,
           coalesce((SELECT pg_catalog.max(log.version) FROM {schema}.eventcore_log AS log WHERE log.stream = head.stream), 0) AS found
    FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS head (stream, version, place)
)
INSERT INTO {schema}.eventcore_log (stream, version, type, event_id, state)
SELECT asked.stream, asked.found + event.step, event.type, event.event_id::uuid, event.state
FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bytea[]) WITH ORDINALITY
         AS event (head, step, type, event_id, state, place)
JOIN asked ON asked.place = event.head
WHERE NOT EXISTS (SELECT FROM asked AS moved WHERE moved.wanted <> moved.found)
ORDER BY event.place
RETURNING position, version, event_id;

-- name: chosen
-- A condition on the events of a page: types and categories as arrays, each twice, NULL for all.
(%s::text[] IS NULL OR type = ANY (%s::text[]))
AND (%s::text[] IS NULL OR pg_catalog.split_part(stream, '-', 1) = ANY (%s::text[]))

-- name: select_stream_forwards
SELECT position, stream, version, type, state FROM {schema}.eventcore_log
WHERE stream = %s AND version > %s AND version <= %s ORDER BY version LIMIT %s;

-- name: select_stream_backwards
SELECT position, stream, version, type, state FROM {schema}.eventcore_log
WHERE stream = %s AND version > %s AND version <= %s ORDER BY version DESC LIMIT %s;

-- name: select_stream_rows
-- The same forwards without the stream's name, which whoever asks knows: for rebuilding state fast.
SELECT position, version, type, state FROM {schema}.eventcore_log
WHERE stream = %s AND version > %s AND version <= %s ORDER BY version LIMIT %s;

-- name: select_stream_version
SELECT coalesce(pg_catalog.max(version), 0) FROM {schema}.eventcore_log WHERE stream = %s;

-- name: select_stream_versions
SELECT stream, coalesce((SELECT pg_catalog.max(version) FROM {schema}.eventcore_log AS log WHERE log.stream = wanted.stream), 0)
FROM pg_catalog.unnest(%s::text[]) AS wanted (stream);

-- name: select_by_event_ids
SELECT position, stream, version, type, state, event_id::text FROM {schema}.eventcore_log
WHERE event_id = ANY (%s::text[]::uuid[]);

-- name: select_indexed
-- Events in order, and where each is by its stream and by its id, as the indexes have it.
WITH page AS MATERIALIZED (
    SELECT position, stream, version, event_id, state FROM {schema}.eventcore_log
    WHERE position > %s AND position <= %s ORDER BY position LIMIT %s
)
SELECT page.position,
       (SELECT log.position FROM {schema}.eventcore_log AS log
        WHERE log.stream = page.stream AND log.version = page.version),
       (SELECT log.position FROM {schema}.eventcore_log AS log WHERE log.event_id = page.event_id),
       page.event_id::text, page.state
FROM page ORDER BY page.position;

-- name: select_snapshot
SELECT stream, version, fingerprint, state FROM {schema}.eventcore_snapshots WHERE stream = %s;

-- name: upsert_snapshot
INSERT INTO {schema}.eventcore_snapshots AS kept (stream, version, fingerprint, state) VALUES (%s, %s, %s, %s)
ON CONFLICT (stream) DO UPDATE SET
    version = excluded.version, fingerprint = excluded.fingerprint, state = excluded.state
WHERE excluded.version > kept.version OR excluded.fingerprint <> kept.fingerprint;

-- name: select_refusals
SELECT event_id, digest, reason, message FROM {schema}.eventcore_refusals WHERE event_id = ANY (%s::text[]);

-- name: select_refusals_after
SELECT event_id, digest, reason, message FROM {schema}.eventcore_refusals
WHERE (event_id, digest) > (%s, %s) ORDER BY event_id, digest LIMIT %s;

-- name: upsert_refusals
-- The last one of each id and digest, should a list name one twice.
INSERT INTO {schema}.eventcore_refusals (event_id, digest, reason, message)
SELECT DISTINCT ON (event_id, digest) event_id, digest, reason, message
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) WITH ORDINALITY
         AS refused (event_id, digest, reason, message, place)
ORDER BY event_id, digest, place DESC
ON CONFLICT (event_id, digest) DO UPDATE SET reason = excluded.reason, message = excluded.message;
