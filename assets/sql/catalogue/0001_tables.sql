-- What happened, of what was backed up, and what recoveries came to. Rows are only ever added:
-- by grants, and by a trigger that also holds for the tables' owner.

CREATE TABLE lifeboat.audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident text NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    hash text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    cluster text NOT NULL,
    actor text NOT NULL,
    actor_role text NOT NULL,
    action text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (incident, seq, hash)
);
CREATE INDEX audit_log_created_at ON lifeboat.audit_log (created_at);
COMMENT ON TABLE lifeboat.audit_log IS
    'The entries of incidents'' journals. hash is SHA-256 of the entry''s line in the journal.';
COMMENT ON COLUMN lifeboat.audit_log.created_at IS 'When the entry was written to the journal.';
COMMENT ON COLUMN lifeboat.audit_log.recorded_at IS 'When it came here.';

CREATE TABLE lifeboat.backup_metadata (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster text NOT NULL,
    repository text NOT NULL,
    backup_set_id text NOT NULL,
    system_identifier text NOT NULL,
    server_version integer NOT NULL,
    timeline integer NOT NULL,
    start_lsn pg_lsn NOT NULL,
    stop_lsn pg_lsn NOT NULL,
    data_bytes bigint NOT NULL,
    stored_bytes bigint NOT NULL,
    cipher text NOT NULL,
    created_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (cluster, repository, backup_set_id)
);
CREATE INDEX backup_metadata_created_at ON lifeboat.backup_metadata (created_at);
COMMENT ON TABLE lifeboat.backup_metadata IS
    'Base backups that were seen in repositories. A row stays when retention removes its backup.';

CREATE TABLE lifeboat.recovery_records (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
    seq bigint NOT NULL,
    cluster text NOT NULL,
    tier text NOT NULL,
    incident text,
    success boolean NOT NULL,
    rpo_seconds bigint NOT NULL,
    rto_seconds bigint NOT NULL,
    rpo_target_seconds bigint NOT NULL,
    rto_target_seconds bigint NOT NULL,
    rpo_met boolean NOT NULL,
    rto_met boolean NOT NULL,
    note text,
    recorded_by text NOT NULL,
    created_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE lifeboat.recovery_records IS
    'The compliance record of recoveries and drills. hash is that of its line in the record.';

CREATE FUNCTION lifeboat.only_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of %.% is refused: rows are only ever added to it',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['audit_log', 'backup_metadata', 'recovery_records'] LOOP
        EXECUTE format('CREATE TRIGGER only_added BEFORE UPDATE OR DELETE ON lifeboat.%I
            FOR EACH ROW EXECUTE FUNCTION lifeboat.only_added()', one);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON lifeboat.%I
            FOR EACH STATEMENT EXECUTE FUNCTION lifeboat.only_added()', one);
        -- Also for a session that says it is a replica's.
        EXECUTE format('ALTER TABLE lifeboat.%I ENABLE ALWAYS TRIGGER only_added', one);
        EXECUTE format('ALTER TABLE lifeboat.%I ENABLE ALWAYS TRIGGER never_emptied', one);
        EXECUTE format('REVOKE ALL ON lifeboat.%I FROM PUBLIC', one);
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON lifeboat.%I FROM CURRENT_USER', one);
    END LOOP;
END
$$;
