-- What a folder of runs holds. Times are microseconds since the Unix epoch.

PRAGMA application_id = 1718381677; -- "fllm"

-- A document's text, kept once; resuming a run needs nothing else.
CREATE TABLE documents (
    digest TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;

-- A run. Its status and times are read off its facts as they are stored.
CREATE TABLE runs (
    key INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workflow TEXT NOT NULL,
    settings TEXT NOT NULL,          -- how its owner began it, in the owner's own words
    status TEXT NOT NULL,
    seq INTEGER NOT NULL,            -- its last fact; 0 until it began
    started_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

-- Its facts as JSON, one row for each commit.
CREATE TABLE journal (
    run INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    version INTEGER NOT NULL,        -- the version the facts are written in
    facts TEXT NOT NULL,
    PRIMARY KEY (run, first)
) STRICT;

PRAGMA user_version = 1;
