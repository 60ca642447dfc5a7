-- What a log that is trimmed has besides: made by its first trim, so that no other log pays for it. {schema} is the schema's
-- quoted name, {log} that of the log's table with its schema, as text.

-- name: create_door
-- Ids and positions of the events that were moved to an archive: they are never given again. Whoever may read the log may
-- read these, and the function looks them up with its owner's rights.
CREATE TABLE {schema}.eventcore_log_trimmed (
    event_id uuid PRIMARY KEY,
    position bigint NOT NULL
);
COMMENT ON TABLE {schema}.eventcore_log_trimmed IS 'Events that were moved to an archive: their ids stay taken';

CREATE TABLE {schema}.eventcore_log_trims (
    id integer PRIMARY KEY CHECK (id = 1),
    until bigint NOT NULL,
    archive text NOT NULL
);
COMMENT ON TABLE {schema}.eventcore_log_trims IS 'How far the log was trimmed: one row';
COMMENT ON COLUMN {schema}.eventcore_log_trims.until IS 'The highest position that was removed';
COMMENT ON COLUMN {schema}.eventcore_log_trims.archive IS 'URL of the archive that holds everything up to there';

CREATE FUNCTION {schema}.eventcore_refuse_trimmed() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path TO '' AS $trimmed$
BEGIN
    IF EXISTS (SELECT FROM {schema}.eventcore_log_trimmed WHERE event_id = NEW.event_id) THEN
        RAISE EXCEPTION 'eventcore_log: an event of this id was trimmed' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END
$trimmed$;

CREATE TRIGGER eventcore_log_refuses_trimmed BEFORE INSERT ON {schema}.eventcore_log
    FOR EACH ROW EXECUTE FUNCTION {schema}.eventcore_refuse_trimmed();
ALTER TABLE {schema}.eventcore_log ENABLE ALWAYS TRIGGER eventcore_log_refuses_trimmed;

DO $grants$
DECLARE
    reader regrole;
BEGIN
    FOR reader IN
        SELECT DISTINCT held.grantee::regrole
        FROM pg_catalog.pg_class AS log CROSS JOIN LATERAL pg_catalog.aclexplode(log.relacl) AS held
        WHERE log.oid = {log}::regclass AND held.privilege_type = 'SELECT' AND held.grantee <> 0
    LOOP
        EXECUTE pg_catalog.format('GRANT SELECT ON {schema}.eventcore_log_trimmed, {schema}.eventcore_log_trims TO %s', reader);
    END LOOP;
END
$grants$;

-- name: select_tables
-- Whether there is a door. In a statement of its own: one that names a table which is not there fails.
SELECT pg_catalog.to_regclass(%s) IS NOT NULL;

-- name: select_trims
SELECT until, archive FROM {schema}.eventcore_log_trims;

-- name: select_trimmed
SELECT event_id::text, position FROM {schema}.eventcore_log_trimmed WHERE event_id = ANY (%s::text[]::uuid[]);

-- name: open_door
-- Until the end of the transaction: nobody else can write meanwhile, and nobody ever sees the log without this trigger.
ALTER TABLE {schema}.eventcore_log DISABLE TRIGGER eventcore_log_refuses_change;

-- name: close_door
ALTER TABLE {schema}.eventcore_log ENABLE ALWAYS TRIGGER eventcore_log_refuses_change;

-- name: lock_log
-- What disabling a trigger takes as well, but no more: readers go on. Two trims come one after the other.
LOCK TABLE {schema}.eventcore_log IN SHARE ROW EXCLUSIVE MODE;

-- name: limit_wait
-- A writer that does not end holds this transaction, and behind it every other writer: not for long.
SET LOCAL lock_timeout = '2s';

-- name: insert_trimmed
INSERT INTO {schema}.eventcore_log_trimmed (event_id, position)
SELECT id::uuid, place FROM unnest(%s::text[], %s::bigint[]) AS gone (id, place);

-- name: delete_events
-- By everything that is known of them: an event that differs from the archive's stays.
DELETE FROM {schema}.eventcore_log AS log
USING unnest(%s::bigint[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::bytea[])
          AS gone (position, stream, version, type, event_id, state)
WHERE log.position = gone.position AND log.stream = gone.stream AND log.version = gone.version
  AND log.type = gone.type AND log.event_id = gone.event_id::uuid AND log.state = gone.state;

-- name: select_broken
-- Streams of which an older event stayed, or no newer one: then nothing may be removed.
SELECT gone.stream FROM unnest(%s::text[], %s::bigint[]) AS gone (stream, version)
WHERE EXISTS (SELECT FROM {schema}.eventcore_log AS log WHERE log.stream = gone.stream AND log.version < gone.version)
   OR NOT EXISTS (SELECT FROM {schema}.eventcore_log AS log WHERE log.stream = gone.stream AND log.version > gone.version)
LIMIT 1;

-- name: upsert_trims
INSERT INTO {schema}.eventcore_log_trims AS kept (id, until, archive) VALUES (1, %s, %s)
ON CONFLICT (id) DO UPDATE SET until = greatest(kept.until, excluded.until), archive = excluded.archive;
