-- What a submitter attached to a run: an object of its own as JSON, the endpoint that hears of it,
-- its place in a trace.
ALTER TABLE runs ADD COLUMN metadata TEXT;
ALTER TABLE runs ADD COLUMN endpoint TEXT;
ALTER TABLE runs ADD COLUMN traceparent TEXT;

-- Where events are sent. One that was removed stays until nothing waits for it.
CREATE TABLE endpoints (
    place INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    url TEXT NOT NULL,
    -- as JSON
    events TEXT NOT NULL,
    -- whether it hears of every run, or of those that name it
    is_for_all INTEGER NOT NULL,
    description TEXT NOT NULL,
    format TEXT NOT NULL,
    -- its own words for statuses, as JSON
    status_names TEXT NOT NULL,
    -- why nothing is sent to it
    disabled TEXT,
    -- sealed, as JSON
    secrets TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    removed_at INTEGER,
    revision INTEGER NOT NULL DEFAULT 1,
    -- failures in a row, and until when it is left alone
    failures INTEGER NOT NULL DEFAULT 0,
    rests_until INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, id)
) STRICT;

-- Events on their way to endpoints, made by the transaction in which they happen.
CREATE TABLE webhook_deliveries (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    message TEXT NOT NULL,
    event TEXT NOT NULL,
    -- the run that it concerns, and its last fact then
    subject TEXT NOT NULL,
    seq INTEGER NOT NULL,
    noted_at INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'exhausted')),
    tries INTEGER NOT NULL DEFAULT 0,
    -- when it may be claimed, while it waits: whoever claims it moves this on
    due_at INTEGER NOT NULL,
    -- since when it is tried
    begun_at INTEGER NOT NULL,
    settled_at INTEGER,
    tried_at INTEGER,
    last_status INTEGER,
    last_text TEXT,
    last_error TEXT,
    last_ms INTEGER,
    -- what is sent, from the first try on
    body TEXT
) STRICT;

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (tenant, endpoint, due_at)
    WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_of ON webhook_deliveries (subject);

-- A delivery for each endpoint that wants to hear of what a run came to.
CREATE TRIGGER endpoints_are_told AFTER UPDATE OF status, finished_at ON runs
WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
    OR (NEW.status = 'paused' AND OLD.status IS NOT 'paused')
BEGIN
    INSERT INTO webhook_deliveries
        (tenant, endpoint, message, event, subject, seq, noted_at, due_at, begun_at)
    SELECT NEW.tenant, id, 'msg_' || NEW.run || '_' || NEW.seq,
        'run.' || replace(NEW.status, '-', '_'), NEW.run, NEW.seq, now, now, now
    FROM endpoints, (SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now)
    WHERE tenant = NEW.tenant AND disabled IS NULL AND (is_for_all OR id = NEW.endpoint)
        AND EXISTS (SELECT 1 FROM json_each(events)
            WHERE value = 'run.' || replace(NEW.status, '-', '_'));
END;

CREATE TRIGGER endpoints_are_told_at_once AFTER INSERT ON runs
WHEN NEW.finished_at IS NOT NULL OR NEW.status = 'paused'
BEGIN
    INSERT INTO webhook_deliveries
        (tenant, endpoint, message, event, subject, seq, noted_at, due_at, begun_at)
    SELECT NEW.tenant, id, 'msg_' || NEW.run || '_' || NEW.seq,
        'run.' || replace(NEW.status, '-', '_'), NEW.run, NEW.seq, now, now, now
    FROM endpoints, (SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now)
    WHERE tenant = NEW.tenant AND disabled IS NULL AND (is_for_all OR id = NEW.endpoint)
        AND EXISTS (SELECT 1 FROM json_each(events)
            WHERE value = 'run.' || replace(NEW.status, '-', '_'));
END;

PRAGMA user_version = 4;
