-- Weights, and limits on what is in flight, of tenants, documents and batches.
CREATE TABLE shares (
    tenant text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('tenant', 'workflow', 'batch')),
    name text NOT NULL,
    weight integer NOT NULL,
    runs bigint,
    tasks bigint,
    PRIMARY KEY (tenant, kind, name)
);

-- What each scheduler has and wants of a party, and how much it may have. Rows of schedulers that are
-- gone mean nothing.
CREATE TABLE share_parts (
    tenant text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    scheduler text NOT NULL,
    runs bigint NOT NULL,
    tasks bigint NOT NULL,
    more_runs bigint NOT NULL,
    more_tasks bigint NOT NULL,
    quota_runs bigint NOT NULL,
    quota_tasks bigint NOT NULL,
    PRIMARY KEY (tenant, kind, name, scheduler)
) WITH (fillfactor = 50);
CREATE INDEX share_parts_said ON share_parts (scheduler);

-- What runs share what they get with. Those that were accepted before are of nobody.
ALTER TABLE runs ADD COLUMN flow text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX runs_waiting ON runs (shard, flow, place) WHERE status IS NULL;
