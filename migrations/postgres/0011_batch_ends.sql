-- Ends of batches are announced beside those of runs: a note names the one or the other.
ALTER TABLE announcements ALTER COLUMN run DROP NOT NULL;
ALTER TABLE announcements ADD COLUMN batch text COLLATE "C";

CREATE FUNCTION note_an_end_of_a_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO announcements (batch) VALUES (NEW.batch);
    RETURN NULL;
END $$;

CREATE TRIGGER an_end_of_a_batch_is_noted AFTER UPDATE OF finished_at ON batches FOR EACH ROW
    WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION note_an_end_of_a_batch();
