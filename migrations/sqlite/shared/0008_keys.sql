-- Keys that only submit; keys with two secrets while one replaces the other; how often a key may ask.
CREATE TABLE api_keys_of_now (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('read', 'submit', 'write', 'admin')),
    hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    used_at INTEGER,
    -- the secret of before, and until when it is of use
    former_hash BLOB,
    former_until INTEGER,
    rotated_at INTEGER,
    -- requests a second, and how many at once; none: as the deployment says
    rate INTEGER,
    burst INTEGER
);

INSERT INTO api_keys_of_now
    (id, tenant, name, scope, hash, created_at, expires_at, revoked_at, used_at)
SELECT id, tenant, name, scope, hash, created_at, expires_at, revoked_at, used_at FROM api_keys;

DROP TABLE api_keys;
ALTER TABLE api_keys_of_now RENAME TO api_keys;
CREATE INDEX api_keys_listed ON api_keys (tenant, created_at);

PRAGMA user_version = 8;
