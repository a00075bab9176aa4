-- Files that were uploaded, described. What is in each is a payload of its owner, `upload/<id>`.
CREATE TABLE uploads (
    tenant text NOT NULL,
    upload text COLLATE "C" NOT NULL,
    name text NOT NULL,
    extension text,
    mime_type text NOT NULL,
    bytes bigint NOT NULL,
    digest text NOT NULL,
    uploaded_at bigint NOT NULL,
    PRIMARY KEY (tenant, upload)
);

-- Workers read what they are to work on.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_worker') THEN
        GRANT SELECT ON uploads TO flowmill_worker;
    END IF;
END $$;
