-- What the broker says of a message that nobody could deal with, as JSON.
ALTER TABLE dead_letters ADD COLUMN headers text NOT NULL DEFAULT '[]';
CREATE INDEX dead_letters_of_run ON dead_letters (run);

-- Runs that nobody would ever wake: there must be none, and whoever asks for them reads no table.
CREATE INDEX runs_without_deadline ON runs (shard) WHERE wake_at IS NULL AND finished_at IS NULL;

-- Forms only grow, so a service works on one that is newer than its own. A migration that takes
-- something away raises this number: the oldest form that a service may know.
CREATE TABLE readers (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    oldest integer NOT NULL
);
INSERT INTO readers (oldest) VALUES (1);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_worker') THEN
        GRANT SELECT ON readers TO flowmill_worker;
    END IF;
END $$;
