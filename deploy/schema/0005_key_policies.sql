-- What a key may do: the caller ids it may show, where it may call, how many
-- calls it may have at a time on each node, and where its events go when a
-- request doesn't say. Lists have commas between, and no spaces. Whatever is
-- null is not limited; so a program that doesn't know these columns, and one
-- that does on a database that has none, go on as before.

ALTER TABLE api_keys
	ADD COLUMN caller_ids     text
	           CHECK (caller_ids ~ '^[0-9]{7,15}(,[0-9]{7,15}){0,31}$'),
	ADD COLUMN allow_prefixes text
	           CHECK (allow_prefixes ~ '^[0-9]{1,15}(,[0-9]{1,15}){0,63}$'),
	ADD COLUMN deny_prefixes  text
	           CHECK (deny_prefixes ~ '^[0-9]{1,15}(,[0-9]{1,15}){0,63}$'),
	ADD COLUMN webhook_url    text
	           CHECK (octet_length(webhook_url) BETWEEN 1 AND 2048),
	ADD COLUMN max_calls      integer
	           CHECK (max_calls BETWEEN 0 AND 1000000);

COMMENT ON COLUMN api_keys.caller_ids IS
	'beside default_caller_id; null: any';
COMMENT ON COLUMN api_keys.allow_prefixes IS
	'of the numbers that it may call; null: all';
COMMENT ON COLUMN api_keys.deny_prefixes IS
	'of those that it may not, unless a longer allowed one matches';
COMMENT ON COLUMN api_keys.webhook_url IS 'where a request has none';
COMMENT ON COLUMN api_keys.max_calls IS 'at a time; null or 0: no limit';

CREATE TRIGGER kaphila_keys_policies
AFTER UPDATE OF caller_ids, allow_prefixes, deny_prefixes, webhook_url,
	max_calls ON api_keys
FOR EACH STATEMENT EXECUTE FUNCTION kaphila_notify_keys();
