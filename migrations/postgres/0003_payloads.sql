-- Payloads of a run lie with its other rows: a month each, by the id of the run. Those of `workflow`
-- and of uploads lie in the default partition. A run's rows have no tenant: its id is one tenant's.
ALTER TABLE payloads RENAME TO payloads_before;
ALTER INDEX payloads_pkey RENAME TO payloads_before_pkey;

CREATE TABLE payloads (
    tenant text NOT NULL,
    owner text COLLATE "C" NOT NULL,
    digest text NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (tenant, owner, digest)
) PARTITION BY RANGE (owner);

-- Parts of them are read, which a compressed one would have to be unpacked for.
ALTER TABLE payloads ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE TABLE payloads_default PARTITION OF payloads DEFAULT;

INSERT INTO payloads SELECT tenant, owner, digest, bytes FROM payloads_before;
DROP TABLE payloads_before;

-- Makes the partitions of this month and the next `ahead`; answers how many were made.
CREATE OR REPLACE FUNCTION flowmill_make_partitions(ahead integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    made integer := 0;
    month timestamp;
    parent text;
    part text;
BEGIN
    FOR month IN SELECT generate_series(0, ahead) * interval '1 month'
        + date_trunc('month', now() AT TIME ZONE 'UTC')
    LOOP
        FOREACH parent IN ARRAY ARRAY['runs', 'journal', 'checkpoints', 'payloads'] LOOP
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

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_worker') THEN
        GRANT SELECT, INSERT ON payloads TO flowmill_worker;
    END IF;
END $$;
