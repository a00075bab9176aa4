-- Weights, and limits on what is in flight, of tenants, documents and batches.
CREATE TABLE shares (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('tenant', 'workflow', 'batch')),
    name TEXT NOT NULL,
    weight INTEGER NOT NULL,
    runs INTEGER,
    tasks INTEGER,
    PRIMARY KEY (tenant, kind, name)
) STRICT, WITHOUT ROWID;

-- What runs share what they get with. Those that were accepted before are of nobody.
ALTER TABLE runs ADD COLUMN flow TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_waiting ON runs (shard, flow, place) WHERE status IS NULL;

PRAGMA user_version = 6;
