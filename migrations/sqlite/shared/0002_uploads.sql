-- Files that were uploaded, described. What is in each is a payload of its owner, in the folder.
CREATE TABLE uploads (
    tenant TEXT NOT NULL,
    upload TEXT NOT NULL,
    name TEXT NOT NULL,
    extension TEXT,
    mime_type TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    digest TEXT NOT NULL,
    uploaded_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, upload)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 2;
