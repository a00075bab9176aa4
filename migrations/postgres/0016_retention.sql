-- How long what ended is kept, where a tenant has terms of its own: microseconds; NULL: for good.
CREATE TABLE retention (
    tenant text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('succeeded', 'partial-succeeded', 'failed', 'stopped',
        'uploads', 'conversations')),
    keep bigint,
    PRIMARY KEY (tenant, kind)
);

-- Tenants that were removed, until nothing of theirs is left: nobody else gets their name before.
CREATE TABLE removed_tenants (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    removed_at bigint NOT NULL DEFAULT flowmill_now()
);

INSERT INTO removed_tenants (name)
SELECT tenant FROM (
    SELECT tenant FROM runs UNION SELECT tenant FROM workflows UNION SELECT tenant FROM uploads
    UNION SELECT tenant FROM batches UNION SELECT tenant FROM endpoints) AS known
WHERE tenant NOT IN (SELECT name FROM tenants);

-- When what is done from time to time was done last.
CREATE TABLE upkeep (
    what text NOT NULL PRIMARY KEY,
    done_at bigint NOT NULL
);

-- When runs named an upload last, and when a conversation had its last turn; NULL: when they came.
ALTER TABLE uploads ADD COLUMN used_at bigint;
ALTER TABLE conversations ADD COLUMN used_at bigint;

-- Removes a month if all of its runs ended before a time and nobody is still to be told of any, and
-- answers how many there were; NULL when it stays. Whoever owns the tables does it, whoever asks.
CREATE FUNCTION flowmill_drop_month(month text, ended_before bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    runs_part text := 'runs_' || month;
    parent text;
    is_needed boolean;
    found bigint;
BEGIN
    IF month !~ '^[0-9]{4}_[0-9]{2}$' OR to_regclass(quote_ident(runs_part)) IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('
        SELECT count(*), coalesce(bool_or(finished_at IS NULL OR finished_at >= $1), false)
        FROM %I', runs_part) INTO found, is_needed USING ended_before;
    IF is_needed THEN
        RETURN NULL;
    END IF;
    EXECUTE format('
        SELECT EXISTS (SELECT FROM %1$I AS r JOIN announcements AS a ON a.run = r.run)
            OR EXISTS (SELECT FROM webhook_deliveries AS d JOIN %1$I AS r ON r.run = d.subject
                WHERE d.state = ''waiting'')
            OR EXISTS (SELECT FROM batches AS b
                WHERE (b.finished_at IS NULL OR b.finished_at >= $1)
                    AND EXISTS (SELECT FROM %1$I AS r WHERE r.batch = b.batch))
            OR EXISTS (SELECT FROM %1$I AS r JOIN runs AS p ON p.run = r.parent
                WHERE r.parent IS NOT NULL AND p.finished_at IS NULL)', runs_part)
        INTO is_needed USING ended_before;
    IF is_needed THEN
        RETURN NULL;
    END IF;
    -- whoever reads or writes a part comes by the table that it is of
    LOCK TABLE ONLY runs, ONLY journal, ONLY checkpoints, ONLY payloads IN ACCESS EXCLUSIVE MODE;
    -- a run that came meanwhile is open: both are found without a look at the others
    EXECUTE format('
        SELECT EXISTS (SELECT FROM %1$I WHERE wake_at IS NOT NULL)
            OR EXISTS (SELECT FROM %1$I WHERE wake_at IS NULL AND finished_at IS NULL)', runs_part)
        INTO is_needed;
    IF is_needed THEN
        RETURN NULL;
    END IF;
    FOREACH parent IN ARRAY ARRAY['runs', 'journal', 'checkpoints', 'payloads'] LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', parent || '_' || month);
    END LOOP;
    RETURN found;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION flowmill_drop_month(text, bigint) SET search_path = %I, pg_temp',
        current_schema());
    REVOKE ALL ON FUNCTION flowmill_drop_month(text, bigint) FROM PUBLIC;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_scheduler') THEN
        GRANT EXECUTE ON FUNCTION flowmill_drop_month(text, bigint) TO flowmill_scheduler;
        GRANT SELECT, INSERT, UPDATE, DELETE ON retention, removed_tenants, upkeep
            TO flowmill_scheduler;
    END IF;
END $$;
