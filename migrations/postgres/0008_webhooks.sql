-- What a submitter attached to a run: an object of its own as JSON, the endpoint that hears of it,
-- its place in a trace.
ALTER TABLE runs ADD COLUMN metadata text, ADD COLUMN endpoint text, ADD COLUMN traceparent text;

-- Where events are sent. One that was removed stays until nothing waits for it.
CREATE TABLE endpoints (
    tenant text NOT NULL,
    id text COLLATE "C" NOT NULL,
    place bigint GENERATED ALWAYS AS IDENTITY,
    url text NOT NULL,
    events text[] NOT NULL,
    -- whether it hears of every run, or of those that name it
    is_for_all boolean NOT NULL,
    description text NOT NULL,
    format text NOT NULL,
    -- its own words for statuses, as JSON
    status_names text NOT NULL,
    -- why nothing is sent to it
    disabled text,
    -- sealed, as JSON
    secrets text NOT NULL,
    created_at bigint NOT NULL DEFAULT flowmill_now(),
    removed_at bigint,
    revision bigint NOT NULL DEFAULT 1,
    -- failures in a row, and until when it is left alone
    failures integer NOT NULL DEFAULT 0,
    rests_until bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id)
);

-- Events on their way to endpoints, made by the transaction in which they happen.
CREATE TABLE webhook_deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    message text NOT NULL,
    event text NOT NULL,
    -- the run that it concerns, and its last fact then
    subject text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    noted_at bigint NOT NULL DEFAULT flowmill_now(),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'exhausted')),
    tries integer NOT NULL DEFAULT 0,
    -- when it may be claimed, while it waits: whoever claims it moves this on
    due_at bigint NOT NULL DEFAULT flowmill_now(),
    -- since when it is tried
    begun_at bigint NOT NULL DEFAULT flowmill_now(),
    settled_at bigint,
    tried_at bigint,
    last_status integer,
    last_text text,
    last_error text,
    last_ms bigint,
    -- what is sent, from the first try on
    body text
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (tenant, endpoint, due_at)
    WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_of ON webhook_deliveries (subject);

-- A delivery for each endpoint that wants to hear of what a run came to.
CREATE FUNCTION tell_endpoints() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_deliveries (tenant, endpoint, message, event, subject, seq)
    SELECT NEW.tenant, id, 'msg_' || NEW.run || '_' || NEW.seq, told.event, NEW.run, NEW.seq
    FROM endpoints, (SELECT 'run.' || replace(NEW.status, '-', '_') AS event) AS told
    WHERE tenant = NEW.tenant AND disabled IS NULL AND told.event = ANY(events)
        AND (is_for_all OR id = NEW.endpoint);
    RETURN NULL;
END $$;

CREATE TRIGGER endpoints_are_told AFTER UPDATE OF status, finished_at ON runs FOR EACH ROW
    WHEN ((OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
        OR (NEW.status = 'paused' AND OLD.status IS DISTINCT FROM 'paused'))
    EXECUTE FUNCTION tell_endpoints();

CREATE TRIGGER endpoints_are_told_at_once AFTER INSERT ON runs FOR EACH ROW
    WHEN (NEW.finished_at IS NOT NULL OR NEW.status = 'paused')
    EXECUTE FUNCTION tell_endpoints();
