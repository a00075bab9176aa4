-- Knowledge bases in one file.

CREATE TABLE bases (
    key INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    settings TEXT NOT NULL,
    -- how many parts its vectors have; NULL before the first
    dimensions INTEGER,
    created_at INTEGER NOT NULL,
    UNIQUE (tenant, name)
) STRICT;

-- A document that is replaced is there twice, until all of the new one can be found.
CREATE TABLE documents (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    base INTEGER NOT NULL REFERENCES bases (key) ON DELETE CASCADE,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    metadata TEXT NOT NULL,
    hash TEXT NOT NULL,
    available INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    UNIQUE (base, id, available)
) STRICT;
CREATE INDEX documents_by_name ON documents (base, name);

CREATE TABLE segments (
    key INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES documents (key) ON DELETE CASCADE,
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    content TEXT NOT NULL,
    answer TEXT,
    hash TEXT NOT NULL,
    hits INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX segments_by_document ON segments (document);

-- What segments are found by. position 0 is the segment as a whole, whose text is not repeated.
CREATE TABLE pieces (
    key INTEGER PRIMARY KEY,
    base INTEGER NOT NULL,
    document INTEGER NOT NULL,
    segment INTEGER NOT NULL REFERENCES segments (key) ON DELETE CASCADE,
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    content TEXT,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX pieces_by_segment ON pieces (segment);
CREATE INDEX pieces_by_document ON pieces (document, hash);
CREATE INDEX pieces_by_hash ON pieces (base, hash);

-- Vectors of length 1: single precision, the lowest byte first. Beside the pieces, so that who
-- reads all of them reads nothing else.
CREATE TABLE vectors (
    piece INTEGER PRIMARY KEY REFERENCES pieces (key) ON DELETE CASCADE,
    base INTEGER NOT NULL,
    document INTEGER NOT NULL,
    vector BLOB NOT NULL
) STRICT;
CREATE INDEX vectors_by_base ON vectors (base, piece);

-- The words of pieces, as flowmill makes them. The index alone: no word is kept twice.
CREATE VIRTUAL TABLE words USING fts5 (
    base, text, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 0'
);
CREATE TRIGGER words_end AFTER DELETE ON pieces BEGIN
    DELETE FROM words WHERE rowid = old.key;
END;

PRAGMA application_id = 0x666c6b6e;
PRAGMA user_version = 1;
