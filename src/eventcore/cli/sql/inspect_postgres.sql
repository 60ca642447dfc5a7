-- Questions that `eventcore db` and `eventcore doctor` ask of a Postgres database.

-- name: select_objects
-- Everything in one schema that was made by a statement: kind, name, table, and how the server describes it. The schema's
-- own name is taken out by whoever compares two of them.
SELECT 'column', c.relname || '.' || a.attname, c.relname::text,
       format_type(a.atttypid, a.atttypmod) || coalesce(' COLLATE ' || quote_ident(o.collname), '')
       || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = %(schema)s
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation AS o ON o.oid = a.attcollation AND o.collname <> 'default'
WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'constraint', t.conname::text, c.relname::text, pg_get_constraintdef(t.oid)
FROM pg_constraint AS t
JOIN pg_class AS c ON c.oid = t.conrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = %(schema)s
WHERE t.contype IN ('c', 'p', 'u')
UNION ALL
SELECT 'index', i.indexname::text, i.tablename::text, i.indexdef FROM pg_indexes AS i WHERE i.schemaname = %(schema)s
UNION ALL
SELECT 'trigger', g.tgname::text, c.relname::text,
       pg_get_triggerdef(g.oid) || CASE g.tgenabled WHEN 'A' THEN ' ALWAYS' WHEN 'D' THEN ' DISABLED' ELSE '' END
FROM pg_trigger AS g
JOIN pg_class AS c ON c.oid = g.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = %(schema)s
WHERE NOT g.tgisinternal
UNION ALL
SELECT 'view', v.viewname::text, v.viewname::text, v.definition FROM pg_views AS v WHERE v.schemaname = %(schema)s
UNION ALL
SELECT 'function', p.proname::text, p.proname::text, p.prosrc
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace AND n.nspname = %(schema)s
UNION ALL
SELECT 'sequence', s.sequencename::text, s.sequencename::text,
       s.data_type::text || ' INCREMENT ' || s.increment_by || ' CACHE ' || s.cache_size
FROM pg_sequences AS s WHERE s.schemaname = %(schema)s
ORDER BY 1, 3, 2;

-- name: select_kept
-- What is kept in a schema, and which tables were made for it.
SELECT projection, tables, fingerprint, position, version, revision, anchor_position, anchor_event
FROM {schema}.eventcore_checkpoints;

-- name: note_tables
-- Tells a projection that its tables were made for it: it takes over no others.
INSERT INTO {schema}.eventcore_checkpoints AS kept (projection, position, version, revision, tables, fingerprint)
VALUES ({projection}, 0, {version}, 1, {tables}, {fingerprint})
ON CONFLICT (projection) DO UPDATE
SET tables = excluded.tables, fingerprint = coalesce(kept.fingerprint, excluded.fingerprint);

-- name: select_server
SELECT current_setting('server_version'), pg_is_in_recovery(), current_user::text;

-- name: select_settings
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit');

-- name: select_rights
-- What this role may do to events besides adding and reading them, and whether the server lets it do everything.
SELECT array_remove(ARRAY[
           CASE WHEN has_table_privilege(%(table)s, 'UPDATE') THEN 'UPDATE' END,
           CASE WHEN has_table_privilege(%(table)s, 'DELETE') THEN 'DELETE' END,
           CASE WHEN has_table_privilege(%(table)s, 'TRUNCATE') THEN 'TRUNCATE' END], NULL),
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
       OR pg_has_role((SELECT relowner FROM pg_class WHERE oid = to_regclass(%(table)s)), 'USAGE');
