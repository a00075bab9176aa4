-- What a shared store holds. Times are microseconds since the Unix epoch by this server's clock,
-- except where facts bring their own. Ids of runs are UUIDs of version 7, as text: their order is
-- the order of time, so tables that grow with the runs are partitioned by them, a month each.

CREATE FUNCTION flowmill_now() RETURNS bigint LANGUAGE sql VOLATILE AS
    $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- Documents by their digest, and which of them a name means. Their texts are payloads of the
-- owner `workflow`.
CREATE TABLE workflows (
    tenant text NOT NULL,
    digest text NOT NULL,
    name text NOT NULL,
    pushed_at bigint NOT NULL,
    PRIMARY KEY (tenant, digest)
);

CREATE TABLE workflow_names (
    tenant text NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    PRIMARY KEY (tenant, name)
);

-- Bytes that are too large for where they belong, with their owner: a run, `workflow`, an upload.
CREATE TABLE payloads (
    tenant text NOT NULL,
    owner text NOT NULL,
    digest text NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (tenant, owner, digest)
);

-- The order in which runs were accepted.
CREATE SEQUENCE run_places;

CREATE TABLE runs (
    run text COLLATE "C" NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    place bigint NOT NULL DEFAULT nextval('run_places'),
    shard integer NOT NULL,
    -- which plan it follows
    workflow text NOT NULL,
    dify_sizes boolean NOT NULL,
    mocks text,
    -- what it begins with, as JSON; NULL once it began
    start text,
    -- read off its facts as they are stored; NULL while it is queued
    status text CHECK (status IN
        ('running', 'paused', 'succeeded', 'partial-succeeded', 'failed', 'stopped')),
    -- its last fact; 0 until it began
    seq bigint NOT NULL DEFAULT 0,
    accepted_at bigint NOT NULL DEFAULT flowmill_now(),
    started_at bigint,
    finished_at bigint,
    -- where it stands, for whoever takes over its shard
    wake_at bigint,
    is_ready boolean NOT NULL DEFAULT false,
    in_flight integer NOT NULL DEFAULT 0,
    last_number bigint NOT NULL DEFAULT 0
) PARTITION BY RANGE (run);

CREATE INDEX runs_queued ON runs (shard, place) WHERE status IS NULL;
CREATE INDEX runs_due ON runs (shard, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX runs_ready ON runs (shard) WHERE is_ready;
CREATE INDEX runs_sent ON runs (shard, last_number) WHERE in_flight > 0;
CREATE INDEX runs_listed ON runs (tenant, place);

-- An end is announced to others: whatever else goes wrong, it never changes.
CREATE FUNCTION refuse_another_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'run % ended as %, which never changes', OLD.run, OLD.status
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER an_end_is_final BEFORE UPDATE ON runs FOR EACH ROW
    WHEN (OLD.status IN ('succeeded', 'partial-succeeded', 'failed', 'stopped')
        AND NEW.status IS DISTINCT FROM OLD.status)
    EXECUTE FUNCTION refuse_another_end();

-- A run's facts as JSON, one row for each commit. Text: jsonb refuses a NUL in a string.
CREATE TABLE journal (
    run text COLLATE "C" NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    tenant text NOT NULL,
    version integer NOT NULL,
    facts text NOT NULL,
    PRIMARY KEY (run, first)
) PARTITION BY RANGE (run);

-- What workers keep of costly work. `n` 0 is the outcome of the attempt; each further row says
-- that its task was delivered again. Rows are only ever inserted.
CREATE TABLE checkpoints (
    tenant text NOT NULL,
    run text COLLATE "C" NOT NULL,
    task text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    n integer NOT NULL,
    completion text,
    PRIMARY KEY (tenant, run, task, attempt, n)
) PARTITION BY RANGE (run);

-- Whatever does not begin with the time of a month below.
CREATE TABLE runs_default PARTITION OF runs DEFAULT;
CREATE TABLE journal_default PARTITION OF journal DEFAULT;
CREATE TABLE checkpoints_default PARTITION OF checkpoints DEFAULT;

-- Makes the partitions of this month and the next `ahead`; answers how many were made.
CREATE FUNCTION flowmill_make_partitions(ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    made integer := 0;
    month timestamp;
    parent text;
    part text;
BEGIN
    FOR month IN SELECT generate_series(0, ahead) * interval '1 month'
        + date_trunc('month', now() AT TIME ZONE 'UTC')
    LOOP
        FOREACH parent IN ARRAY ARRAY['runs', 'journal', 'checkpoints'] LOOP
            part := parent || to_char(month, '_YYYY_MM');
            CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                part, parent, flowmill_first_id(month),
                flowmill_first_id(month + interval '1 month'));
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- The beginning of the ids of runs that are made at a time.
CREATE FUNCTION flowmill_first_id(at timestamp) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT left(hex, 8) || '-' || right(hex, 4)
    FROM (SELECT lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS hex) AS id
$$;

-- What is wanted of a run, until its owner dealt with it.
CREATE TABLE signals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    run text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    wish text NOT NULL,
    actor text NOT NULL,
    sent_at bigint NOT NULL DEFAULT flowmill_now(),
    settled_at bigint,
    refused text
);

CREATE INDEX signals_waiting ON signals (shard, id) WHERE settled_at IS NULL;
CREATE INDEX signals_of_run ON signals (run);

-- What submitters called their submissions.
CREATE TABLE idempotency (
    tenant text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    run text NOT NULL,
    used_at bigint NOT NULL DEFAULT flowmill_now(),
    PRIMARY KEY (tenant, key)
);

-- Each shard with the change of owner that made its present one. Every commit holds its shards'
-- rows, so a takeover waits for a commit that began, and a commit that comes later finds another
-- epoch.
CREATE TABLE shards (
    shard integer NOT NULL PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    mark bigint NOT NULL DEFAULT 0,
    last bigint NOT NULL DEFAULT 0
);

-- Who owns a shard until when; apart from it, so that a renewal never waits for a commit.
CREATE TABLE leases (
    shard integer NOT NULL PRIMARY KEY REFERENCES shards (shard),
    owner text,
    expires_at bigint NOT NULL DEFAULT 0
);

CREATE TABLE schedulers (
    scheduler text NOT NULL PRIMARY KEY,
    reads integer NOT NULL,
    seen_at bigint NOT NULL
);

-- Messages that nobody could deal with, with the reason.
CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    run text,
    queue text NOT NULL,
    reason text NOT NULL,
    message bytea NOT NULL,
    put_at bigint NOT NULL DEFAULT flowmill_now()
);

-- Workers may write down what they did and read it again. They see nothing else of a run.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_worker') THEN
        CREATE ROLE flowmill_worker NOLOGIN;
    END IF;
EXCEPTION
    -- another database of this server made it at the same time
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'the role flowmill_worker is missing and this user may not make it';
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_worker') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO flowmill_worker', current_schema());
        GRANT SELECT, INSERT ON checkpoints, payloads TO flowmill_worker;
        GRANT SELECT ON _sqlx_migrations TO flowmill_worker;
    END IF;
END $$;
