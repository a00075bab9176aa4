-- Runs that nodes of other runs wait for: whose they are, and what those are told of their end.
ALTER TABLE runs ADD COLUMN parent text COLLATE "C";
ALTER TABLE runs ADD COLUMN awaited_by text;
ALTER TABLE runs ADD COLUMN has_children boolean NOT NULL DEFAULT false;

CREATE INDEX runs_of_parent ON runs (parent) WHERE parent IS NOT NULL;

-- The end of a child is told to its parent, and the end of a parent ends its children: in the same
-- transaction, so that neither is lost.
CREATE FUNCTION tell_the_family() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.parent IS NOT NULL THEN
        INSERT INTO signals (tenant, run, shard, wish, actor)
        SELECT tenant, run, shard, NEW.awaited_by, 'run ' || NEW.run FROM runs
        WHERE run = NEW.parent AND tenant = NEW.tenant AND finished_at IS NULL;
    END IF;
    IF NEW.has_children THEN
        INSERT INTO signals (tenant, run, shard, wish, actor)
        SELECT tenant, run, shard, '"stop"', 'run ' || NEW.run FROM runs
        WHERE parent = NEW.run AND finished_at IS NULL;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER an_end_is_told_to_the_family AFTER UPDATE OF finished_at ON runs FOR EACH ROW
    WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
        AND (NEW.parent IS NOT NULL OR NEW.has_children))
    EXECUTE FUNCTION tell_the_family();
