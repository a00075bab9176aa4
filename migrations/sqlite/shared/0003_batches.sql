-- Batches: many runs of one document that were submitted as one. Lines wait as they came, many to a
-- row, and become runs as earlier ones end.
CREATE TABLE batches (
    batch TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    workflow TEXT NOT NULL,
    -- what was agreed on, as JSON
    terms TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'importing' CHECK (state IN ('importing', 'running', 'paused',
        'stopping', 'succeeded', 'partial', 'failed', 'stopped')),
    cause TEXT,
    lines INTEGER NOT NULL DEFAULT 0,
    -- so many of the lines became runs, or were rejected
    fed INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0,
    -- how the runs ended that have
    succeeded INTEGER NOT NULL DEFAULT 0,
    partial INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    stopped INTEGER NOT NULL DEFAULT 0,
    key TEXT,
    fingerprint TEXT,
    rerun_of TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    due_at INTEGER NOT NULL,
    -- when lines came last
    grown_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX batches_keyed ON batches (tenant, key) WHERE key IS NOT NULL;
CREATE INDEX batches_listed ON batches (tenant, batch);
CREATE INDEX batches_open ON batches (batch) WHERE finished_at IS NULL;

-- Lines `first` and on, one in each line of the text.
CREATE TABLE batch_lines (
    batch TEXT NOT NULL REFERENCES batches (batch) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (batch, first)
) STRICT;

-- Lines that did not become runs, and why, as JSON.
CREATE TABLE batch_rejects (
    batch TEXT NOT NULL REFERENCES batches (batch) ON DELETE CASCADE,
    line INTEGER NOT NULL,
    custom_id TEXT,
    problem TEXT NOT NULL,
    PRIMARY KEY (batch, line)
) STRICT;

-- The line that a run was made of.
ALTER TABLE runs ADD COLUMN batch TEXT;
ALTER TABLE runs ADD COLUMN line INTEGER;
ALTER TABLE runs ADD COLUMN custom_id TEXT;
CREATE INDEX runs_of_batch ON runs (batch, line) WHERE batch IS NOT NULL;
CREATE INDEX runs_of_batch_open ON runs (batch) WHERE batch IS NOT NULL AND finished_at IS NULL;

-- Whatever ends a run of a batch, it is counted.
CREATE TRIGGER an_end_is_counted AFTER UPDATE OF finished_at ON runs
WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL AND NEW.batch IS NOT NULL
BEGIN
    UPDATE batches SET succeeded = succeeded + (NEW.status = 'succeeded'),
        partial = partial + (NEW.status = 'partial-succeeded'),
        failed = failed + (NEW.status = 'failed'),
        stopped = stopped + (NEW.status = 'stopped')
    WHERE batch = NEW.batch;
END;

PRAGMA user_version = 3;
