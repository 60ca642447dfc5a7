-- What `eventcore doctor --race` runs on a user's server. Parameters are $1, $2: names of tables and columns may hold a %.
-- All tables are UNLOGGED. A publication FOR ALL TABLES would send rows of others to subscribers that have no such table,
-- and end their replication.

-- name: select_right
SELECT has_database_privilege(current_database(), 'CREATE');

-- name: lock_scratch
-- Held by an open transaction as long as a race is on: who looks for leftovers sees that this schema is none.
SELECT pg_advisory_xact_lock(1702257522, hashtext($1));

-- name: keep_idle
SET LOCAL idle_in_transaction_session_timeout = 0;

-- name: create_scratch
CREATE SCHEMA {schema};

-- name: mark_scratch
COMMENT ON SCHEMA {schema} IS {mark};

-- name: select_leftovers
-- Scratch schemas whose race is over and that this role may drop.
SELECT n.nspname::text FROM pg_namespace AS n
WHERE n.nspname ~ $1 AND obj_description(n.oid, 'pg_namespace') = $2 AND pg_has_role(n.nspowner, 'USAGE')
  AND NOT EXISTS (
      SELECT FROM pg_locks AS l
      JOIN pg_database AS d ON d.oid = l.database AND d.datname = current_database()
      WHERE l.locktype = 'advisory' AND l.classid = 1702257522 AND l.objsubid = 2
        AND l.objid = (hashtext(n.nspname)::bigint & 4294967295)::oid)
ORDER BY 1;

-- name: limit_waiting
-- Whoever holds a lock on what is copied or dropped for longer is named as the reason why it failed.
SET LOCAL lock_timeout = '3s';

-- name: drop_scratch
DROP SCHEMA IF EXISTS {schema} CASCADE;

-- name: create_textbook
CREATE UNLOGGED TABLE {schema}.textbook (
    id bigserial PRIMARY KEY,
    stream text NOT NULL,
    version bigint NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (stream, version)
);

-- name: insert_textbook
INSERT INTO {schema}.textbook (stream, version, type, payload)
SELECT 'order-' || given.n % 8, given.n, 'order.paid', jsonb_build_object('n', given.n)
FROM unnest($1::bigint[]) AS given (n);

-- name: insert_log
-- As a program would that knows nothing of eventcore: by itself, with pauses before its commit.
INSERT INTO {schema}.eventcore_log (stream, version, type, event_id, state)
SELECT 'order-' || given.n % 8, given.n, 'order.paid', md5(given.n::text)::uuid, convert_to('{{"v":1}}', 'UTF8')
FROM unnest($1::bigint[]) AS given (n);

-- name: lock_table
LOCK TABLE {table} IN EXCLUSIVE MODE;

-- name: poll_first
SELECT ctid::text, {position} FROM {table} ORDER BY {position}, ctid;

-- name: poll_next
-- The textbook: whatever has a higher position than the last one seen.
SELECT ctid::text, {position} FROM {table} WHERE {position} > $1 ORDER BY {position}, ctid;

-- name: select_table
-- The table that a name means, by this session's search_path.
SELECT n.nspname::text, c.relname::text, c.oid::bigint, c.relkind IN ('r', 'p')
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass($1);

-- name: create_copy
-- Takes ACCESS SHARE on the original, as a SELECT does. Defaults are left out, because one that calls nextval would
-- take numbers of the original's sequence; checks, because rows are made up; triggers and foreign keys are not copied.
CREATE UNLOGGED TABLE {copy} (LIKE {table} INCLUDING GENERATED INCLUDING INDEXES INCLUDING STORAGE);

-- name: create_copy_position
CREATE SEQUENCE {sequence} AS bigint INCREMENT BY {increment} CACHE {cache};

-- name: drop_copy_column
ALTER TABLE {copy} DROP COLUMN {column} CASCADE;

-- name: insert_copy
INSERT INTO {copy} ({columns}) SELECT {values} FROM unnest($1::bigint[]) AS given (n);

-- name: qualify_names
-- So that types and functions are described with their schemas.
SET LOCAL search_path TO '';

-- name: select_columns
-- Of one table: name, type, category of the type, whether a row needs a value, whether it is in the primary key, the
-- default, whether that does nothing but compute, INCREMENT and CACHE of a sequence that is all of the default, and an
-- expression that makes the value of row number given.n, NULL where there is none. Generated columns are left out.
SELECT a.attname::text, described.type, t.typcategory::text, a.attnotnull,
       EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)),
       described.default_,
       d.oid IS NOT NULL AND NOT EXISTS (
           -- The functions in the stored expression. Those of Postgres that are not volatile change nothing.
           SELECT FROM regexp_matches(d.adbin::text, ':(?:funcid|opfuncid) (\d+)', 'g') AS called (id)
           LEFT JOIN pg_proc AS p ON p.oid = called.id[1]::oid
           WHERE p.pronamespace IS DISTINCT FROM 'pg_catalog'::regnamespace
              OR p.provolatile = 'v'
                 AND p.proname NOT IN ('clock_timestamp', 'gen_random_uuid', 'random', 'timeofday', 'uuidv4', 'uuidv7')),
       s.seqincrement, s.seqcache,
       CASE
           WHEN t.typtype = 'd' AND EXISTS (SELECT FROM pg_constraint AS r WHERE r.contypid = t.oid) THEN NULL
           WHEN t.typtype = 'e' THEN format('(enum_range(NULL::%s))[1]', described.type)
           WHEN t.typtype = 'm' OR t.typcategory = 'A' THEN format('''{{}}''::%s', described.type)
           WHEN t.typtype = 'r' THEN format('''empty''::%s', described.type)
           WHEN t.typcategory = 'S' THEN format('given.n::text::%s', described.type)
           WHEN t.typcategory = 'B' THEN format('(given.n %% 2 = 0)::%s', described.type)
           WHEN t.typcategory = 'T' THEN format('(given.n * interval ''1 second'')::%s', described.type)
           WHEN t.typcategory = 'I' THEN format('(''10.0.0.0''::inet + given.n)::%s', described.type)
           WHEN t.typname = 'int2' THEN '(given.n % 32767)::smallint'
           WHEN t.typname = 'numeric' AND a.atttypmod > 4 THEN format('mod(given.n, 1e%s)::%s',
               greatest(((a.atttypmod - 4) >> 16) - ((a.atttypmod - 4) & 65535), 0), described.type)
           WHEN t.typcategory = 'N' THEN format('given.n::%s', described.type)
           WHEN t.typname IN ('timestamptz', 'timestamp') THEN
               format('(''2000-01-01 UTC''::timestamptz + given.n * interval ''1 second'')::%s', described.type)
           WHEN t.typname = 'date' THEN '''2000-01-01''::date + (given.n % 100000)::integer'
           WHEN t.typname IN ('time', 'timetz') THEN
               format('(''00:00''::time + given.n * interval ''1 millisecond'')::%s', described.type)
           WHEN t.typname = 'uuid' THEN 'md5(given.n::text)::uuid'
           WHEN t.typname IN ('json', 'jsonb') THEN format('json_build_object(''n'', given.n)::%s', described.type)
           WHEN t.typname = 'bytea' THEN 'int8send(given.n)'
           WHEN t.typname = 'tsvector' THEN 'given.n::text::tsvector'
           WHEN t.typcategory = 'V' THEN format('given.n::bit(64)::%s', described.type)
       END
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
CROSS JOIN LATERAL (
    SELECT format_type(a.atttypid, a.atttypmod) AS type, pg_get_expr(d.adbin, d.adrelid) AS default_) AS described
LEFT JOIN LATERAL (
    SELECT q.seqincrement, q.seqcache FROM pg_depend AS e JOIN pg_sequence AS q ON q.seqrelid IN (e.objid, e.refobjid)
    WHERE (a.attidentity <> '' AND e.deptype = 'i' AND e.classid = 'pg_class'::regclass
               AND e.refclassid = 'pg_class'::regclass AND (e.refobjid, e.refobjsubid) = (a.attrelid, a.attnum))
       OR (described.default_ ~ '^nextval\(''[^()]*''::regclass\)$' AND e.refclassid = 'pg_class'::regclass
               AND (e.classid, e.objid) = ('pg_attrdef'::regclass, d.oid))
    LIMIT 1) AS s ON true
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum;

-- name: select_not_copied
-- What a row of the original passes through and one of the copy does not.
SELECT 'trigger ' || g.tgname FROM pg_trigger AS g
WHERE g.tgrelid = $1::oid AND NOT g.tgisinternal AND g.tgenabled <> 'D' AND g.tgtype & 4 <> 0
UNION ALL
SELECT 'rule ' || r.rulename FROM pg_rewrite AS r WHERE r.ev_class = $1::oid AND r.ev_type = '3'
UNION ALL
SELECT CASE k.contype WHEN 'f' THEN 'foreign key ' ELSE 'check ' END || k.conname FROM pg_constraint AS k
WHERE k.conrelid = $1::oid AND k.contype IN ('f', 'c')
ORDER BY 1;
