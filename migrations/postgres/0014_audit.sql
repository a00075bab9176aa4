-- What people did to the deployment. Rows are only ever added.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    noted_at bigint NOT NULL DEFAULT flowmill_now(),
    tenant text COLLATE "C" NOT NULL,
    actor text NOT NULL,
    -- the key of the store's that was brought
    key text,
    action text COLLATE "C" NOT NULL,
    object text NOT NULL,
    outcome text NOT NULL,
    address text
);

CREATE INDEX audit_listed ON audit (tenant, id);

-- Only who owns the table can take this away, for rows that need not be kept any longer.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are only ever added', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
