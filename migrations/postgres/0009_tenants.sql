-- Who shares the deployment. What belongs to a tenant names it in its own row.
CREATE TABLE tenants (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    created_at bigint NOT NULL DEFAULT flowmill_now()
);

INSERT INTO tenants (name) VALUES ('default');

-- The keys by which callers are known, as keyed hashes.
CREATE TABLE api_keys (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
    name text NOT NULL,
    scope text NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
    hash bytea NOT NULL,
    created_at bigint NOT NULL DEFAULT flowmill_now(),
    expires_at bigint,
    revoked_at bigint,
    used_at bigint
);

CREATE INDEX api_keys_listed ON api_keys (tenant, created_at);
