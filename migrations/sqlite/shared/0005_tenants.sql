-- Who shares the folder. What belongs to a tenant names it in its own row.
CREATE TABLE tenants (
    name TEXT NOT NULL PRIMARY KEY,
    created_at INTEGER NOT NULL
);

INSERT INTO tenants (name, created_at)
VALUES ('default', CAST(unixepoch('subsec') * 1000000 AS INTEGER));

-- The keys by which callers are known, as keyed hashes.
CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
    hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    used_at INTEGER
);

CREATE INDEX api_keys_listed ON api_keys (tenant, created_at);

PRAGMA user_version = 5;
