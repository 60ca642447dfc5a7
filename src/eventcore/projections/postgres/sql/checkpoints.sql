-- How far each projection is, beside the tables of the read models. {schema} is the schema's quoted name.

-- name: create_schema
CREATE SCHEMA IF NOT EXISTS {schema};

-- name: create_checkpoints
CREATE TABLE IF NOT EXISTS {schema}.eventcore_checkpoints (
    projection text COLLATE "C" PRIMARY KEY,              -- name of the projection
    position bigint NOT NULL CHECK (position >= 0),       -- every event up to it is applied, none above
    version bigint NOT NULL CHECK (version > 0),          -- the projection's version that made the rows
    revision bigint NOT NULL CHECK (revision > 0),        -- grows when rows change other than by events
    anchor_position bigint,                               -- of the last event at or below the position, NULL if not known
    anchor_event text COLLATE "C",                        -- id of that event: another log has another one there
    tables text,                                          -- what was made for the projection: a JSON object, tables to their columns
    fingerprint text COLLATE "C"                          -- of the definition that made the rows, NULL if not known
);

-- name: add_fingerprint
-- Schemas in which checkpoints had none yet.
ALTER TABLE {schema}.eventcore_checkpoints ADD COLUMN fingerprint text COLLATE "C";

-- name: lock_definitions
-- Held until the end of the transaction: processes that start at once make the tables one after another.
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('eventcore ' || %s::text, 0));

-- name: select_schema
SELECT pg_catalog.count(*) FROM pg_catalog.pg_namespace WHERE nspname = %s;

-- name: select_columns
-- By the quoted name of a table; none if it is absent.
SELECT attname::text FROM pg_catalog.pg_attribute
WHERE attrelid = pg_catalog.to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum;

-- name: select_checkpoint
SELECT position, version, revision, anchor_position, anchor_event
FROM {schema}.eventcore_checkpoints WHERE projection = %s;

-- name: lock_checkpoint
-- Whoever changes a projection's rows holds this first, and so waits before it holds anything others wait for.
-- Its shares as well, in the order in which pages move them.
SELECT FROM {schema}.eventcore_checkpoints
WHERE projection = %s OR pg_catalog.starts_with(projection, %s) ORDER BY projection FOR UPDATE;

-- name: lock_checkpoints
-- In the order of the names given, which is that in which pages move them.
SELECT FROM pg_catalog.unnest(%s::text[]) WITH ORDINALITY AS wanted (projection, place)
JOIN {schema}.eventcore_checkpoints AS kept USING (projection) ORDER BY wanted.place FOR UPDATE OF kept;

-- name: select_fingerprint
SELECT fingerprint FROM {schema}.eventcore_checkpoints WHERE projection = %s;

-- name: select_tables
SELECT tables FROM {schema}.eventcore_checkpoints WHERE projection = %s;

-- name: insert_checkpoint
INSERT INTO {schema}.eventcore_checkpoints AS kept (projection, position, version, revision, tables, fingerprint)
VALUES (%s, 0, %s, 1, %s, %s)
ON CONFLICT (projection) DO UPDATE
SET tables = excluded.tables, fingerprint = coalesce(kept.fingerprint, excluded.fingerprint);

-- name: advance_checkpoint
-- Nothing is updated if another runner moved it in between.
UPDATE {schema}.eventcore_checkpoints
SET position = %s, anchor_position = %s, anchor_event = %s, revision = revision + %s
WHERE projection = %s AND position = %s AND version = %s AND revision = %s;

-- name: reset_checkpoint
INSERT INTO {schema}.eventcore_checkpoints AS kept (projection, position, version, revision, tables, fingerprint)
VALUES (%s, 0, %s, 1, %s, %s)
ON CONFLICT (projection) DO UPDATE
SET position = 0, version = excluded.version, revision = kept.revision + 1, anchor_position = NULL,
    anchor_event = NULL, tables = excluded.tables, fingerprint = excluded.fingerprint;

-- name: accept_definition
UPDATE {schema}.eventcore_checkpoints SET version = %s, fingerprint = %s WHERE projection = %s;

-- name: rename_checkpoint
UPDATE {schema}.eventcore_checkpoints SET projection = %s, revision = %s, tables = %s WHERE projection = %s;

-- name: delete_checkpoint
-- With its shares.
DELETE FROM {schema}.eventcore_checkpoints WHERE projection = %s OR pg_catalog.starts_with(projection, %s);

-- name: limit_waiting
-- Who waits for a table keeps everybody out who comes after: readers notice no more than this.
SET LOCAL lock_timeout = '100ms';

-- name: lock_table
LOCK TABLE {{table}} IN ACCESS EXCLUSIVE MODE;

-- name: rename_table
ALTER TABLE {{table}} RENAME TO {{name}};

-- name: rename_index
ALTER INDEX {{table}} RENAME TO {{name}};

-- name: select_indexes
SELECT i.relname::text FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = pg_catalog.to_regclass(%s) ORDER BY 1;

-- name: select_bound
-- What names the table by its identity and would go on to read the old rows: views, rules, foreign keys.
SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, 0) FROM pg_catalog.pg_depend d
LEFT JOIN pg_catalog.pg_constraint c ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = pg_catalog.to_regclass(%s) AND d.deptype = 'n'
  AND (d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass OR c.contype = 'f' AND c.conrelid <> d.refobjid)
ORDER BY 1;

-- name: select_grants
SELECT pg_catalog.quote_ident(r.rolname), g.privilege_type, g.is_grantable FROM pg_catalog.pg_class c
CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) g LEFT JOIN pg_catalog.pg_roles r ON r.oid = g.grantee
WHERE c.oid = pg_catalog.to_regclass(%s) AND g.grantee <> c.relowner;

-- name: select_oid
SELECT pg_catalog.to_regclass(%s)::oid;

-- name: select_name
-- What a table is named that was found under another name before.
SELECT relname::text FROM pg_catalog.pg_class WHERE oid = %s;

-- name: reset_shares
UPDATE {schema}.eventcore_checkpoints
SET position = 0, revision = revision + 1, anchor_position = NULL, anchor_event = NULL
WHERE pg_catalog.starts_with(projection, %s);

-- name: revise_checkpoint
-- Of the projection and of its shares.
UPDATE {schema}.eventcore_checkpoints SET revision = revision + 1
WHERE projection = %s OR pg_catalog.starts_with(projection, %s);
