-- The log and what lies beside it, in the schema {schema}. {position_sequence}: the sequence's quoted name, as text.
--
-- A number is never used twice and a file never changes once it was released: a new file does. "pre" is applied before
-- a new version of eventcore starts and leaves the running one working, "post" after the last old one has ended.

CREATE TABLE {schema}.eventcore_migrations (
    name text COLLATE "C" PRIMARY KEY,                       -- of the file, without .sql
    digest text NOT NULL,                                    -- SHA-256 of the file, hexadecimal
    applied_at timestamptz NOT NULL DEFAULT pg_catalog.statement_timestamp()
);
COMMENT ON TABLE {schema}.eventcore_migrations IS 'What was applied to the tables of eventcore here';

-- CACHE 1, always: a session that kept numbers for later would use them out of order.
CREATE SEQUENCE {schema}.eventcore_log_position AS bigint CACHE 1;

CREATE TABLE {schema}.eventcore_log (
    position bigint NOT NULL DEFAULT pg_catalog.nextval({position_sequence}),
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    type text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    state bytea NOT NULL,
    CONSTRAINT eventcore_log_position_key PRIMARY KEY (position),
    CONSTRAINT eventcore_log_position_check CHECK (position > 0)
) WITH (
    -- Rows are never changed, so pages are filled up, and only inserts make work for vacuum.
    fillfactor = 100,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02
);
ALTER SEQUENCE {schema}.eventcore_log_position OWNED BY {schema}.eventcore_log.position;
COMMENT ON TABLE {schema}.eventcore_log IS 'Every event, once, for ever; see the view eventcore_log_json';
COMMENT ON COLUMN {schema}.eventcore_log.position IS 'Place in the whole log, from 1; gaps are appends that were rolled back';
COMMENT ON COLUMN {schema}.eventcore_log.stream IS 'category-id of what the event happened to';
COMMENT ON COLUMN {schema}.eventcore_log.version IS 'Place in the stream, from 1, without gaps';
COMMENT ON COLUMN {schema}.eventcore_log.type IS 'Stored name, e.g. order.paid';
COMMENT ON COLUMN {schema}.eventcore_log.event_id IS 'Identity: the same event is never stored twice';
COMMENT ON COLUMN {schema}.eventcore_log.state IS 'Compact JSON, UTF-8: schema version, id, time, payload, context; up to 1 MiB';

-- Reads one stream, and keeps two writers from the same version. Streams are found by name, so millions of them cost
-- what their events cost and nothing more.
CREATE UNIQUE INDEX eventcore_log_by_stream ON {schema}.eventcore_log (stream, version);

-- Finds a repeated append or import. Ids that grow with time (UUID version 7) fill it from one end.
CREATE UNIQUE INDEX eventcore_log_by_event_id ON {schema}.eventcore_log (event_id);

CREATE FUNCTION {schema}.eventcore_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    RAISE EXCEPTION 'eventcore_log is immutable: events are never %',
        CASE TG_OP WHEN 'UPDATE' THEN 'updated' WHEN 'DELETE' THEN 'deleted' ELSE 'truncated' END
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$function$;

CREATE TRIGGER eventcore_log_refuses_change BEFORE UPDATE OR DELETE ON {schema}.eventcore_log
    FOR EACH ROW EXECUTE FUNCTION {schema}.eventcore_refuse_change();
CREATE TRIGGER eventcore_log_refuses_truncate BEFORE TRUNCATE ON {schema}.eventcore_log
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.eventcore_refuse_change();
-- Also where a replica or a restore replays changes with session_replication_role = replica.
ALTER TABLE {schema}.eventcore_log ENABLE ALWAYS TRIGGER eventcore_log_refuses_change;
ALTER TABLE {schema}.eventcore_log ENABLE ALWAYS TRIGGER eventcore_log_refuses_truncate;

-- A payload may hold the character U+0000, of which Postgres can make no text: such a state is still shown as it is (json
-- keeps it unread, jsonb would refuse it), but nothing is taken out of it.
CREATE VIEW {schema}.eventcore_log_json AS
SELECT position, stream, version, type, event_id,
       substring(readable.state FROM '"at":"([^"]+)"')::timestamptz AS occurred_at,
       CASE WHEN pg_catalog.strpos(readable.state, E'\\u0000') = 0 THEN readable.state::json -> 'data' END AS data,
       readable.state::json AS state
FROM {schema}.eventcore_log AS log
CROSS JOIN LATERAL (SELECT pg_catalog.convert_from(log.state, 'UTF8') AS state) AS readable;
COMMENT ON VIEW {schema}.eventcore_log_json IS 'Events as readable JSON';

CREATE TABLE {schema}.eventcore_snapshots (
    stream text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    state bytea NOT NULL
);
COMMENT ON TABLE {schema}.eventcore_snapshots IS 'The newest saved state of each aggregate; losing it costs time, never truth';
COMMENT ON COLUMN {schema}.eventcore_snapshots.version IS 'Version of the stream the state was taken at';
COMMENT ON COLUMN {schema}.eventcore_snapshots.fingerprint IS 'Names the fold that made it; another fold ignores it';
COMMENT ON COLUMN {schema}.eventcore_snapshots.state IS 'JSON of the aggregate, UTF-8';

CREATE TABLE {schema}.eventcore_refusals (
    event_id text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (event_id, digest)
);
COMMENT ON TABLE {schema}.eventcore_refusals IS 'Imported events that a rule refused: a repeated import decides the same';
COMMENT ON COLUMN {schema}.eventcore_refusals.digest IS 'Of the content, hexadecimal';
COMMENT ON COLUMN {schema}.eventcore_refusals.reason IS 'Stable code, e.g. email-taken';
COMMENT ON COLUMN {schema}.eventcore_refusals.message IS 'For a person; no personal values';
