-- Conversations of chats: how many turns each has, and what runs wrote of its variables. A variable is
-- one row, so that of two runs that end only those that both wrote are the later one's. Values lie
-- here as JSON, whole; of secret variables they are sealed.
CREATE TABLE conversations (
    tenant text NOT NULL,
    conversation text COLLATE "C" NOT NULL,
    app text NOT NULL,
    turns bigint NOT NULL DEFAULT 0,
    begun_at bigint NOT NULL DEFAULT flowmill_now(),
    PRIMARY KEY (tenant, conversation)
);

CREATE TABLE conversation_variables (
    tenant text NOT NULL,
    conversation text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    -- the run that wrote it last
    run text NOT NULL,
    variable text NOT NULL,
    written_at bigint NOT NULL DEFAULT flowmill_now(),
    PRIMARY KEY (tenant, conversation, name)
);

-- The conversation that a run is a turn of, and the run whose work it takes over.
ALTER TABLE runs ADD COLUMN conversation text, ADD COLUMN rerun_of text COLLATE "C";
CREATE INDEX runs_rerun_of ON runs (rerun_of, place) WHERE rerun_of IS NOT NULL;
