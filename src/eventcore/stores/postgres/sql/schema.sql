-- What is there, asked when a log is opened. {schema} is the schema's quoted name.

-- name: select_schema
SELECT pg_catalog.count(*) FROM pg_catalog.pg_namespace WHERE nspname = %s;

-- name: create_schema
CREATE SCHEMA {schema};

-- name: lock_migrations
-- Until the end of the transaction: processes that start at once apply them one after another.
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('eventcore migrations ' || %s::text, 0));

-- name: select_log
-- Columns and types of the log's table, and its triggers that fire always and do what ours do; NULLs if it is absent.
-- Their types: for each row, before an update (16) or a delete (8); for each statement, before a truncate (32).
SELECT (SELECT pg_catalog.array_agg(attname || ' ' || pg_catalog.replace(pg_catalog.format_type(atttypid, atttypmod), '"', '')
                                    ORDER BY attnum)
        FROM pg_catalog.pg_attribute WHERE attrelid = log.id AND attnum > 0 AND NOT attisdropped),
       (SELECT pg_catalog.array_agg(tgname::text ORDER BY tgname)
        FROM pg_catalog.pg_trigger JOIN pg_catalog.pg_proc ON pg_proc.oid = tgfoid AND prosrc = %s
        WHERE tgrelid = log.id AND tgenabled = 'A' AND tgqual IS NULL AND tgattr::text = ''
          AND (tgname::text, tgtype) IN (('eventcore_log_refuses_change', 1 + 2 + 8 + 16),
                                         ('eventcore_log_refuses_truncate', 2 + 32))),
       pg_catalog.to_regclass(%s) IS NOT NULL
FROM (SELECT pg_catalog.to_regclass(%s) AS id) AS log;

-- name: select_applied
SELECT name, digest FROM {schema}.eventcore_migrations;

-- name: insert_migration
INSERT INTO {schema}.eventcore_migrations (name, digest) VALUES (%s, %s);

-- name: select_places
-- The highest position there is, and the last one that the sequence gave out.
SELECT coalesce(pg_catalog.max(position), 0),
       coalesce(pg_catalog.pg_sequence_last_value(%s::regclass), 0)
FROM {schema}.eventcore_log;
