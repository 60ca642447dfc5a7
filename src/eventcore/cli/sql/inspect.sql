-- Questions that `eventcore db` and `eventcore doctor` ask of an SQLite file.

-- name: select_objects
SELECT type, name, tbl_name, sql FROM sqlite_master
WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid;

-- name: check_integrity
-- Every page, every index entry; one row 'ok', or at most 5 problems.
PRAGMA integrity_check(5);

-- name: select_journal_mode
PRAGMA journal_mode;

-- name: select_log_counts
-- Together in one statement: one state of the file.
SELECT count(*), coalesce(max(position), 0) FROM eventcore_log;
