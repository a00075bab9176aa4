-- Knowledge bases in a schema of their own.

CREATE TABLE flowmill_knowledge.bases (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    id text NOT NULL UNIQUE,
    name text NOT NULL,
    description text NOT NULL,
    settings text NOT NULL,
    -- how many parts its vectors have; NULL before the first
    dimensions bigint,
    created_at bigint NOT NULL,
    UNIQUE (tenant, name)
);

-- A document that is replaced is there twice, until all of the new one can be found.
CREATE TABLE flowmill_knowledge.documents (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    base bigint NOT NULL REFERENCES flowmill_knowledge.bases (key) ON DELETE CASCADE,
    id text NOT NULL,
    name text NOT NULL,
    metadata text NOT NULL,
    hash text NOT NULL,
    available boolean NOT NULL,
    created_at bigint NOT NULL,
    segments bigint NOT NULL,
    UNIQUE (base, id, available)
);
CREATE INDEX documents_by_name ON flowmill_knowledge.documents (base, name);

CREATE TABLE flowmill_knowledge.segments (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document bigint NOT NULL REFERENCES flowmill_knowledge.documents (key) ON DELETE CASCADE,
    id text NOT NULL,
    position bigint NOT NULL,
    content text NOT NULL,
    answer text,
    hash text NOT NULL,
    hits bigint NOT NULL DEFAULT 0
);
CREATE INDEX segments_by_document ON flowmill_knowledge.segments (document);

-- What segments are found by. position 0 is the segment as a whole, whose text is not repeated.
-- words is made of the words that flowmill makes, so that no locale decides what a word is.
CREATE TABLE flowmill_knowledge.pieces (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    base bigint NOT NULL,
    document bigint NOT NULL,
    segment bigint NOT NULL REFERENCES flowmill_knowledge.segments (key) ON DELETE CASCADE,
    id text NOT NULL,
    position bigint NOT NULL,
    content text,
    hash text NOT NULL,
    words tsvector NOT NULL
);
CREATE INDEX pieces_by_segment ON flowmill_knowledge.pieces (segment);
CREATE INDEX pieces_by_document ON flowmill_knowledge.pieces (document, hash);
CREATE INDEX pieces_by_hash ON flowmill_knowledge.pieces (base, hash);
CREATE INDEX pieces_by_words ON flowmill_knowledge.pieces USING gin (words);

-- Vectors of length 1. Beside the pieces, so that who reads all of them reads nothing else.
CREATE TABLE flowmill_knowledge.vectors (
    piece bigint PRIMARY KEY REFERENCES flowmill_knowledge.pieces (key) ON DELETE CASCADE,
    base bigint NOT NULL,
    document bigint NOT NULL,
    vector real[] NOT NULL
);
CREATE INDEX vectors_by_base ON flowmill_knowledge.vectors (base, piece);
