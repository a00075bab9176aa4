-- What the shared store of one process holds. Times are microseconds since the Unix epoch. Large
-- values lie beside it, as files.

PRAGMA application_id = 1718383464; -- "flsh"

-- Documents by their digest, and which of them a name means.
CREATE TABLE workflows (
    tenant TEXT NOT NULL,
    digest TEXT NOT NULL,
    name TEXT NOT NULL,
    pushed_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE workflow_names (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- The texts of documents, and of mocks.
CREATE TABLE texts (
    tenant TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (tenant, digest)
) STRICT;

CREATE TABLE runs (
    -- the order in which runs were accepted
    place INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    shard INTEGER NOT NULL,
    -- which plan it follows
    workflow TEXT NOT NULL,
    dify_sizes INTEGER NOT NULL,
    mocks TEXT,
    -- what it begins with, as JSON; NULL once it began
    start TEXT,
    -- read off its facts as they are stored; NULL while it is queued
    status TEXT CHECK (status IN
        ('running', 'paused', 'succeeded', 'partial-succeeded', 'failed', 'stopped')),
    -- its last fact; 0 until it began
    seq INTEGER NOT NULL DEFAULT 0,
    accepted_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    -- where it stands, for whoever takes over its shard
    wake_at INTEGER,
    is_ready INTEGER NOT NULL DEFAULT 0,
    in_flight INTEGER NOT NULL DEFAULT 0,
    last_number INTEGER NOT NULL DEFAULT 0,
    -- the conversation that it is a turn of, and the run whose work it takes over
    conversation TEXT,
    rerun_of TEXT
) STRICT;

CREATE INDEX runs_rerun_of ON runs (rerun_of) WHERE rerun_of IS NOT NULL;
CREATE INDEX runs_queued ON runs (shard, place) WHERE status IS NULL;
CREATE INDEX runs_due ON runs (shard, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX runs_left ON runs (shard) WHERE is_ready OR in_flight > 0;
CREATE INDEX runs_without_deadline ON runs (shard) WHERE wake_at IS NULL AND finished_at IS NULL;

-- An end is announced to others: whatever else goes wrong, it never changes.
CREATE TRIGGER an_end_is_final BEFORE UPDATE ON runs
WHEN OLD.finished_at IS NOT NULL AND NEW.status IS NOT OLD.status
BEGIN
    SELECT RAISE(ABORT, 'a run has ended, which never changes');
END;

-- A run's facts as JSON, one row for each commit.
CREATE TABLE journal (
    run TEXT NOT NULL REFERENCES runs (run) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    version INTEGER NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (run, first)
) STRICT;

-- What the worker keeps of costly work. `n` 0 is the outcome of the attempt; each further row says
-- that its task was delivered again. Rows are only ever inserted.
CREATE TABLE checkpoints (
    tenant TEXT NOT NULL,
    run TEXT NOT NULL,
    task TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    n INTEGER NOT NULL,
    completion TEXT,
    PRIMARY KEY (tenant, run, task, attempt, n)
) STRICT;

-- What is wanted of a run, until its owner dealt with it.
CREATE TABLE signals (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL REFERENCES runs (run) ON DELETE CASCADE,
    shard INTEGER NOT NULL,
    wish TEXT NOT NULL,
    actor TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    settled_at INTEGER,
    refused TEXT
) STRICT;

CREATE INDEX signals_waiting ON signals (shard, id) WHERE settled_at IS NULL;
CREATE INDEX signals_of_run ON signals (run);

-- Conversations of chats: how many turns each has, and what runs wrote of its variables, as JSON; of
-- secret ones it is sealed.
CREATE TABLE conversations (
    tenant TEXT NOT NULL,
    conversation TEXT NOT NULL,
    app TEXT NOT NULL,
    turns INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, conversation)
) STRICT, WITHOUT ROWID;

CREATE TABLE conversation_variables (
    tenant TEXT NOT NULL,
    conversation TEXT NOT NULL,
    name TEXT NOT NULL,
    -- the run that wrote it last
    run TEXT NOT NULL,
    variable TEXT NOT NULL,
    PRIMARY KEY (tenant, conversation, name)
) STRICT;

-- What submitters called their submissions. A key outlives its run.
CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    run TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

-- Each shard with the change of owner that made its present one. Who owns it now is not kept: the
-- lock of the folder says which process.
CREATE TABLE shards (
    shard INTEGER NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL DEFAULT 0,
    mark INTEGER NOT NULL DEFAULT 0,
    last INTEGER NOT NULL DEFAULT 0
) STRICT;

PRAGMA user_version = 1;
