-- Reading a table in the order of its positions, so that nothing is skipped. {table}: its quoted name with its schema;
-- {position}: the column; {columns}: what is read, the position first; {nulls}: as many NULLs; {chosen}: a condition with
-- parameters of its own; {server}: see server; {others}: a condition on sessions whose locks count.

-- name: server
-- A name for the server that it keeps as long as it runs without a break. A start, also after a failover, changes the
-- first part, a crash the second: it resets the statistics (``pgstat_discard_stats`` in ``pgstat.c``).
(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint || '/'
|| coalesce((extract(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time()) * 1000000)::bigint, 0)

-- name: select_page
SELECT {columns} FROM {table}
WHERE {position} > %s AND {position} <= %s ORDER BY {position} LIMIT %s;

-- name: select_page_of_server
-- The same, if the server is the one of that name still; else one row of NULLs.
WITH server AS (SELECT {server} AS id)
(SELECT {columns} FROM {table}
 WHERE {position} > %s AND {position} <= %s AND (SELECT id FROM server) = %s ORDER BY {position} LIMIT %s)
UNION ALL
SELECT {nulls} FROM server WHERE id <> %s;

-- name: select_chosen_of_server
-- The same of those rows that meet a condition.
WITH server AS (SELECT {server} AS id)
(SELECT {columns} FROM {table}
 WHERE {position} > %s AND {position} <= %s AND (SELECT id FROM server) = %s AND {chosen} ORDER BY {position} LIMIT %s)
UNION ALL
SELECT {nulls} FROM server WHERE id <> %s;

-- name: select_last_until
SELECT {columns} FROM {table} WHERE {position} <= %s ORDER BY {position} DESC LIMIT 1;

-- name: select_head
SELECT coalesce(pg_catalog.max({position}), 0) FROM {table};

-- name: select_contiguous_until
-- The last position that follows its predecessors without a gap: from one that is known on, as far as one that is given.
SELECT position FROM (
    SELECT position, pg_catalog.lead(position) OVER (ORDER BY position) AS next
    FROM (SELECT %s::bigint AS position
          UNION ALL SELECT {position} FROM {table} WHERE {position} > %s AND {position} <= %s) AS places
) AS pairs
WHERE next IS DISTINCT FROM position + 1 ORDER BY position LIMIT 1;

-- name: select_holders
-- The server's name, the highest position, and the transactions that may still write at or below it, one a row (NULL:
-- none). The position is that of the statement's snapshot, which is older than the look at the locks: every INSERT holds
-- this lock from before it takes its position until after its commit can be seen. One that waits for the lock has taken
-- none yet. A prepared transaction has no pid.
SELECT server.id, head.position, held.virtualtransaction
FROM (SELECT {server} AS id) AS server
CROSS JOIN (SELECT coalesce(pg_catalog.max({position}), 0) AS position FROM {table}) AS head
LEFT JOIN pg_catalog.pg_locks AS held
       ON held.locktype = 'relation' AND held.mode = 'RowExclusiveLock' AND held.granted
      AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
      AND held.relation IN (
          SELECT pg_catalog.to_regclass(%s)
          UNION ALL SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(%s)))
      AND {others};

-- name: every_session
TRUE

-- name: other_sessions
-- For a look inside a transaction that writes: what it wrote itself it sees, and need not wait for. A prepared
-- transaction has no pid.
held.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()

-- name: describe_holders
-- What is known of them; the query of another role's session is hidden without pg_read_all_stats.
SELECT DISTINCT ON (held.virtualtransaction)
       held.pid, held.virtualtransaction,
       extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(session.xact_start, prepared.prepared))::float8,
       session.state, session.application_name, pg_catalog.left(coalesce(session.query, prepared.gid), 500)
FROM pg_catalog.pg_locks AS held
LEFT JOIN pg_catalog.pg_stat_activity AS session ON session.pid = held.pid
-- A prepared transaction has the virtual id of the session that made it, and after a restart one made of its own.
LEFT JOIN pg_catalog.pg_locks AS own
       ON held.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid' AND own.mode = 'ExclusiveLock'
      AND own.virtualtransaction = held.virtualtransaction
LEFT JOIN pg_catalog.pg_prepared_xacts AS prepared ON prepared.transaction = own.transactionid
WHERE held.locktype = 'relation' AND held.mode = 'RowExclusiveLock' AND held.granted
  AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND held.relation IN (
      SELECT pg_catalog.to_regclass(%s)
      UNION ALL SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(%s)))
ORDER BY held.virtualtransaction;
