-- Batches: many runs of one document that were submitted as one. Lines wait as they came, many to a
-- row, and become runs as earlier ones end.
CREATE TABLE batches (
    batch text COLLATE "C" NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    workflow text NOT NULL,
    -- what was agreed on, as JSON
    terms text NOT NULL,
    state text NOT NULL DEFAULT 'importing' CHECK (state IN ('importing', 'running', 'paused',
        'stopping', 'succeeded', 'partial', 'failed', 'stopped')),
    cause text,
    lines bigint NOT NULL DEFAULT 0,
    -- so many of the lines became runs, or were rejected
    fed bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    key text,
    fingerprint text,
    rerun_of text COLLATE "C",
    created_at bigint NOT NULL DEFAULT flowmill_now(),
    started_at bigint,
    finished_at bigint,
    due_at bigint NOT NULL,
    -- when lines came last
    grown_at bigint NOT NULL DEFAULT flowmill_now(),
    -- who makes runs of it, and until when
    feeder text,
    claimed_until bigint NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX batches_keyed ON batches (tenant, key) WHERE key IS NOT NULL;
CREATE INDEX batches_listed ON batches (tenant, batch);
CREATE INDEX batches_open ON batches (batch) WHERE finished_at IS NULL;

-- Lines `first` and on, one in each line of the text.
CREATE TABLE batch_lines (
    batch text COLLATE "C" NOT NULL REFERENCES batches ON DELETE CASCADE,
    first bigint NOT NULL,
    lines text NOT NULL,
    PRIMARY KEY (batch, first)
);

-- Lines that did not become runs, and why, as JSON.
CREATE TABLE batch_rejects (
    batch text COLLATE "C" NOT NULL REFERENCES batches ON DELETE CASCADE,
    line bigint NOT NULL,
    custom_id text,
    problem text NOT NULL,
    PRIMARY KEY (batch, line)
);

-- How runs of batches ended. A row has one writer, the owner of its shard, and is written by the
-- transaction that ends the runs: nobody waits for anybody.
CREATE TABLE batch_ends (
    batch text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    succeeded bigint NOT NULL DEFAULT 0,
    partial bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    stopped bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (batch, shard)
) WITH (fillfactor = 50);

-- The line that a run was made of.
ALTER TABLE runs ADD COLUMN batch text COLLATE "C", ADD COLUMN line bigint,
    ADD COLUMN custom_id text;
CREATE INDEX runs_of_batch ON runs (batch, line) WHERE batch IS NOT NULL;
CREATE INDEX runs_of_batch_open ON runs (batch) WHERE batch IS NOT NULL AND finished_at IS NULL;
