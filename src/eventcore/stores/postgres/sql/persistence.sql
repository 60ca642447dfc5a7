-- Statements on the tables of `eventsourcing`. {table} is the table's quoted name with its schema, {id} uuid or text.

-- name: insert_one
INSERT INTO {table} (originator_id, originator_version, topic, state) VALUES (%s::text::{id}, %s, %s, %s)
RETURNING notification_id;

-- name: insert_block
-- The positions of one call follow each other, whoever else inserts many at once: they are taken under a lock that is
-- given back before the first row is written. The INSERT itself holds ROW EXCLUSIVE from before the first of them.
WITH taken AS MATERIALIZED (SELECT pg_catalog.pg_advisory_lock(%s::bigint)),
     places AS MATERIALIZED (
         SELECT pg_catalog.nextval(%s::regclass) AS notification_id FROM taken CROSS JOIN pg_catalog.generate_series(1, %s::bigint)),
     freed AS MATERIALIZED (
         SELECT pg_catalog.pg_advisory_unlock(%s::bigint) FROM (SELECT pg_catalog.count(*) FROM places) AS all_of_them)
INSERT INTO {table} (originator_id, originator_version, topic, state, notification_id)
SELECT event.originator_id::{id}, event.originator_version, event.topic, event.state, place.notification_id
FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bytea[]) WITH ORDINALITY
         AS event (originator_id, originator_version, topic, state, number)
JOIN (SELECT notification_id, pg_catalog.row_number() OVER (ORDER BY notification_id) AS number FROM places) AS place
     ON place.number = event.number
CROSS JOIN freed
ORDER BY event.number
RETURNING notification_id;

-- name: insert_block_pooled
-- The same where the session may be somebody else's next: a lock that was left there by a statement that was cut off would
-- never be given back. This one is given back with the commit, so such inserts follow one after another.
WITH taken AS MATERIALIZED (SELECT pg_catalog.pg_advisory_xact_lock(%s::bigint)),
     places AS MATERIALIZED (
         SELECT pg_catalog.nextval(%s::regclass) AS notification_id
         FROM taken CROSS JOIN pg_catalog.generate_series(1, %s::bigint))
INSERT INTO {table} (originator_id, originator_version, topic, state, notification_id)
SELECT event.originator_id::{id}, event.originator_version, event.topic, event.state, place.notification_id
FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bytea[]) WITH ORDINALITY
         AS event (originator_id, originator_version, topic, state, number)
JOIN (SELECT notification_id, pg_catalog.row_number() OVER (ORDER BY notification_id) AS number FROM places) AS place
     ON place.number = event.number
ORDER BY event.number
RETURNING notification_id;

-- name: insert_many
-- Into a table without positions: snapshots.
INSERT INTO {table} (originator_id, originator_version, topic, state)
SELECT event.originator_id::{id}, event.originator_version, event.topic, event.state
FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bytea[])
         AS event (originator_id, originator_version, topic, state);

-- name: select_stored
-- What is there under the ids and versions of a batch.
SELECT stored.originator_id::text, stored.originator_version, stored.topic, stored.state, stored.notification_id
FROM unnest(%s::text[], %s::bigint[]) AS event (originator_id, originator_version)
JOIN {table} AS stored ON stored.originator_id = event.originator_id::{id}
                      AND stored.originator_version = event.originator_version;

-- name: chosen
-- A condition on the events of a page.
topic = ANY (%s::text[])

-- name: select_sequence
SELECT pg_catalog.pg_get_serial_sequence(%s, 'notification_id');

-- name: lock_tables
-- Until the end of the transaction: processes that start at once make their tables one after another.
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('eventcore tables ' || %s::text, 0));
