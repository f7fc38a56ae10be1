-- Tells every node that cached keys are out of date. Only administrative
-- changes do: a NOTIFY takes a lock that all commits with one share, so the
-- ledger's updates (credits, total_calls, successful_calls) and last_used
-- must never send one. Whoever grants credits notifies by itself.

CREATE FUNCTION kaphila_notify_keys() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('kaphila_keys', '');
	RETURN NULL;
END
$$;

CREATE TRIGGER kaphila_keys_rows
AFTER INSERT OR DELETE ON api_keys
FOR EACH STATEMENT EXECUTE FUNCTION kaphila_notify_keys();

CREATE TRIGGER kaphila_keys_columns
AFTER UPDATE OF key_id, name, key_hash, rate_limit, default_caller_id,
	disabled_at, expires_at ON api_keys
FOR EACH STATEMENT EXECUTE FUNCTION kaphila_notify_keys();

CREATE TRIGGER kaphila_trunks
AFTER INSERT OR UPDATE OR DELETE ON trunks
FOR EACH STATEMENT EXECUTE FUNCTION kaphila_notify_keys();

CREATE TRIGGER kaphila_key_trunks
AFTER INSERT OR UPDATE OR DELETE ON key_trunks
FOR EACH STATEMENT EXECUTE FUNCTION kaphila_notify_keys();
