-- Where a dead letter was before it was set aside, what it said of itself, and what became of it:
-- it waits for people until it is put back or dropped.
ALTER TABLE dead_letters ADD COLUMN origin text;
ALTER TABLE dead_letters ADD COLUMN properties text NOT NULL DEFAULT '[]';
ALTER TABLE dead_letters ADD COLUMN claimed_until bigint NOT NULL DEFAULT 0;
ALTER TABLE dead_letters ADD COLUMN settled text CHECK (settled IN ('replayed', 'dropped'));
ALTER TABLE dead_letters ADD COLUMN settled_at bigint;
CREATE INDEX dead_letters_listed ON dead_letters (tenant, id);

-- Ends of runs that others are not told of yet. The note is made by the transaction that ends the
-- run, whichever statement that is, and goes once the end is announced.
CREATE TABLE announcements (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text COLLATE "C" NOT NULL,
    claimed_until bigint NOT NULL DEFAULT 0
);

CREATE FUNCTION note_an_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO announcements (run) VALUES (NEW.run);
    RETURN NULL;
END $$;

CREATE TRIGGER an_end_is_noted AFTER UPDATE OF finished_at ON runs FOR EACH ROW
    WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION note_an_end();

-- A run that begins and ends in one transaction.
CREATE TRIGGER an_end_at_once_is_noted AFTER INSERT ON runs FOR EACH ROW
    WHEN (NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION note_an_end();
