-- Keys that only submit; keys with two secrets while one replaces the other; how often a key may ask.
ALTER TABLE api_keys DROP CONSTRAINT api_keys_scope_check;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_scope_check
    CHECK (scope IN ('read', 'submit', 'write', 'admin'));

ALTER TABLE api_keys
    -- the secret of before, and until when it is of use
    ADD COLUMN former_hash bytea,
    ADD COLUMN former_until bigint,
    ADD COLUMN rotated_at bigint,
    -- requests a second, and how many at once; none: as the deployment says
    ADD COLUMN rate bigint,
    ADD COLUMN burst bigint;
