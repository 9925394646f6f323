-- What a database of Zoco has before its services start: a role and a schema for each service, and no more rights than
-- these. Run by whoever owns the database, in the database; again whenever you like. Passwords are given elsewhere.
-- Its tables each service makes by itself, in its own schema.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
DO $roles$
DECLARE
    service text;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    FOREACH service IN ARRAY ARRAY['compras', 'tokens', 'usuarios', 'transacciones'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', service);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), service);
        -- Who is no superuser makes a schema for a role only as its member.
        EXECUTE format('GRANT %I TO CURRENT_USER', service);
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service, service);
        EXECUTE format('ALTER ROLE %I SET search_path = %I', service, service);
    END LOOP;
END
$roles$;

-- How the database is, for metrics and `zoco doctor`. Of others' sessions and of replication only who may see everything
-- sees anything: so this is run as its owner, who needs pg_monitor, and tells no more than these numbers.
CREATE OR REPLACE FUNCTION compras.salud(
    OUT foto_segundos float8, OUT xmin_edad bigint, OUT replicas bigint, OUT replicas_pedidas int, OUT wal_bytes bigint,
    OUT ranuras_bytes bigint, OUT bytes bigint, OUT conexiones bigint, OUT conexiones_max int
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(a.xact_start) FILTER (WHERE a.backend_xmin IS NOT NULL)), 0),
           coalesce(max(age(a.backend_xmin)), 0),
           (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')),
           CASE WHEN names = '' THEN 0 ELSE coalesce((regexp_match(names, '^[^(]*?(\d+)\s*\('))[1]::int, 1) END,
           (SELECT coalesce(sum(size), 0) FROM pg_ls_waldir())::bigint,
           (SELECT coalesce(max(CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() - restart_lsn END), 0)
            FROM pg_replication_slots)::bigint,
           pg_database_size(current_database()),
           count(*) FILTER (WHERE a.backend_type = 'client backend'),
           current_setting('max_connections')::int
    FROM pg_stat_activity a, current_setting('synchronous_standby_names') AS names
    GROUP BY names
$$;
REVOKE ALL ON FUNCTION compras.salud() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION compras.salud() TO compras;
