-- Runs that nodes of other runs wait for: whose they are, and what those are told of their end.
ALTER TABLE runs ADD COLUMN parent TEXT;
ALTER TABLE runs ADD COLUMN awaited_by TEXT;

CREATE INDEX runs_of_parent ON runs (parent) WHERE parent IS NOT NULL;

-- The end of a child is told to its parent, and the end of a parent ends its children.
CREATE TRIGGER an_end_is_told_to_the_parent AFTER UPDATE OF finished_at ON runs
WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL AND NEW.parent IS NOT NULL
BEGIN
    INSERT INTO signals (run, shard, wish, actor, sent_at)
    SELECT run, shard, NEW.awaited_by, 'run ' || NEW.run, NEW.finished_at FROM runs
    WHERE run = NEW.parent AND tenant = NEW.tenant AND finished_at IS NULL;
END;

CREATE TRIGGER an_end_is_told_to_children AFTER UPDATE OF finished_at ON runs
WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
BEGIN
    INSERT INTO signals (run, shard, wish, actor, sent_at)
    SELECT run, shard, '"stop"', 'run ' || NEW.run, NEW.finished_at FROM runs
    WHERE parent = NEW.run AND finished_at IS NULL;
END;

PRAGMA user_version = 7;
