-- How long what ended is kept, where a tenant has terms of its own: microseconds; NULL: for good.
CREATE TABLE retention (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('succeeded', 'partial-succeeded', 'failed', 'stopped',
        'uploads', 'conversations')),
    keep INTEGER,
    PRIMARY KEY (tenant, kind)
) STRICT;

-- Tenants that were removed, until nothing of theirs is left: nobody else gets their name before.
CREATE TABLE removed_tenants (
    name TEXT NOT NULL PRIMARY KEY,
    removed_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER))
) STRICT;

INSERT INTO removed_tenants (name)
SELECT tenant FROM (
    SELECT tenant FROM runs UNION SELECT tenant FROM workflows UNION SELECT tenant FROM uploads
    UNION SELECT tenant FROM batches UNION SELECT tenant FROM endpoints)
WHERE tenant NOT IN (SELECT name FROM tenants);

-- When what is done from time to time was done last.
CREATE TABLE upkeep (
    what TEXT NOT NULL PRIMARY KEY,
    done_at INTEGER NOT NULL
) STRICT;

-- When runs named an upload last, and when a conversation had its last turn.
ALTER TABLE uploads ADD COLUMN used_at INTEGER;
ALTER TABLE conversations ADD COLUMN used_at INTEGER;
UPDATE conversations SET used_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER);

PRAGMA user_version = 10;
