-- Schedulers may change rows and nothing else: neither tables nor what people did. Whoever migrates owns
-- the tables.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_scheduler') THEN
        CREATE ROLE flowmill_scheduler NOLOGIN;
    END IF;
EXCEPTION
    -- another database of this server made it at the same time
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'the role flowmill_scheduler is missing and this user may not make it';
END $$;

-- Partitions are made by whoever owns the tables, whoever asks for them.
ALTER FUNCTION flowmill_make_partitions(integer) SECURITY DEFINER;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION flowmill_make_partitions(integer) SET search_path = %I, pg_temp',
        current_schema());
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmill_scheduler') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO flowmill_scheduler', current_schema());
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I
            TO flowmill_scheduler', current_schema());
        EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO flowmill_scheduler',
            current_schema());
        -- the same of tables that are still to come
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I
            GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO flowmill_scheduler', current_schema());
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I
            GRANT USAGE ON SEQUENCES TO flowmill_scheduler', current_schema());
        REVOKE UPDATE, DELETE ON audit FROM flowmill_scheduler;
        REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations, readers FROM flowmill_scheduler;
    END IF;
END $$;
