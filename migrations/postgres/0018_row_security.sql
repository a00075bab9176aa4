-- The second line between tenants: what the API reads on behalf of a tenant it reads as `flowmill_api`,
-- which sees the rows of the tenant that its transaction names in `flowmill.tenant`, whatever the
-- statement says. Services see all rows, as before; whoever owns the tables is subject to nothing.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_api') THEN
        CREATE ROLE flowmill_api NOLOGIN;
    END IF;
EXCEPTION
    -- another database of this server made it at the same time
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'the role flowmill_api is missing and this user may not make it';
END $$;

-- Schedulers take the role for a transaction, and so does the owner where services work as that one.
DO $$
DECLARE
    member name;
    -- who makes a role is its member, which is not enough to take it any more
    taken text := CASE WHEN current_setting('server_version_num')::integer < 160000
        THEN 'MEMBER' ELSE 'SET' END;
BEGIN
    FOR member IN
        SELECT who.rolname FROM pg_roles AS who, pg_roles AS api
        WHERE who.rolname IN ('flowmill_scheduler', current_user) AND api.rolname = 'flowmill_api'
            AND NOT pg_has_role(who.oid, api.oid, taken)
    LOOP
        BEGIN
            EXECUTE format('GRANT flowmill_api TO %I', member);
        EXCEPTION
            -- another database of this server did it at the same time
            WHEN unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE '% may not take the role flowmill_api, and this user may not let it', member;
        END;
    END LOOP;
END $$;

-- Texts of documents. Of payloads the role sees nothing else, and they are not divided by policies: large
-- ones are written by COPY, which a table that has policies refuses to all but its owner.
CREATE VIEW document_texts WITH (security_barrier) AS
    SELECT tenant, digest, bytes FROM payloads
    WHERE owner = 'workflow'
        AND (current_user <> 'flowmill_api' OR tenant = current_setting('flowmill.tenant', true));

-- Divides the tables that are not yet divided; answers how many these were. A migration that makes a
-- table of tenants' rows calls it; so does an owner whose server got the roles later.
CREATE FUNCTION flowmill_divide_tenants() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    divided integer := 0;
    services text;
    part text;
    sees text;
BEGIN
    -- without the role there is nobody to be held apart, and whoever works here goes on as before
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_api') THEN
        RETURN 0;
    END IF;
    SELECT string_agg(rolname, ', ') INTO services
    FROM pg_roles WHERE rolname IN ('flowmill_scheduler', 'flowmill_worker');
    FOR part, sees IN
        SELECT relname, coalesce(by_owner.sees, 'tenant = current_setting(''flowmill.tenant'', true)')
        FROM pg_class
        LEFT JOIN (
            SELECT name, format('EXISTS (SELECT FROM batches WHERE batches.batch = %I.batch
                AND tenant = current_setting(''flowmill.tenant'', true))', name)
            FROM unnest(ARRAY['batch_lines', 'batch_rejects', 'batch_ends']) AS name
        ) AS by_owner (name, sees) ON by_owner.name = relname
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
            -- rows of partitions are reached through their table, whose policies count
            AND NOT relispartition AND NOT relrowsecurity AND relname <> 'payloads'
            AND (by_owner.name IS NOT NULL OR EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = pg_class.oid AND attname = 'tenant' AND NOT attisdropped))
        ORDER BY relname
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('CREATE POLICY tenant ON %I FOR SELECT TO flowmill_api USING (%s)', part, sees);
        IF services IS NOT NULL THEN
            EXECUTE format('CREATE POLICY services ON %I TO %s USING (true)', part, services);
        END IF;
        EXECUTE format('GRANT SELECT ON %I TO flowmill_api', part);
        divided := divided + 1;
    END LOOP;
    -- of whom nothing is a tenant's: who is there, and texts that the view divides
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO flowmill_api', current_schema());
    GRANT SELECT ON schedulers, document_texts TO flowmill_api;
    RETURN divided;
END $$;

SELECT flowmill_divide_tenants();
