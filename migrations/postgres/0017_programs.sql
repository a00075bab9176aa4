-- The highest version of facts in a shard: who does not read it does not take the shard.
ALTER TABLE shards ADD COLUMN version integer NOT NULL DEFAULT 1;

-- Programs that live, and the highest version of facts and messages that each reads: all write what all
-- read. Rows of programs that are gone mean nothing.
CREATE TABLE programs (
    -- what it is: scheduler, worker, webhooks
    kind text NOT NULL,
    name text NOT NULL,
    reads integer NOT NULL,
    seen_at bigint NOT NULL,
    PRIMARY KEY (kind, name)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_worker') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON programs TO flowmill_worker;
        GRANT SELECT ON schedulers TO flowmill_worker;
    END IF;
END $$;
