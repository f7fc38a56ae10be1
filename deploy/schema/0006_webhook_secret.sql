-- What a key's events are signed with: "whsec_" and the base64 of 24 to 64
-- bytes, as Standard Webhooks has it. The one before stays valid beside it
-- until it is taken away. Null: events are not signed.

ALTER TABLE api_keys
	ADD COLUMN webhook_secret        text
	           CHECK (webhook_secret ~ ('^whsec_([A-Za-z0-9+/]{4}){8,20}'
	               '([A-Za-z0-9+/]{4}([A-Za-z0-9+/]{2}==)?|'
	               '[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?$')),
	ADD COLUMN webhook_secret_before text
	           CHECK (webhook_secret_before ~
	               ('^whsec_([A-Za-z0-9+/]{4}){8,20}'
	               '([A-Za-z0-9+/]{4}([A-Za-z0-9+/]{2}==)?|'
	               '[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?$'));

COMMENT ON COLUMN api_keys.webhook_secret IS
	'signs the events of calls made from now on; null: they are not signed';
COMMENT ON COLUMN api_keys.webhook_secret_before IS
	'signs them, too; null: there is none';

CREATE TRIGGER kaphila_keys_secrets
AFTER UPDATE OF webhook_secret, webhook_secret_before ON api_keys
FOR EACH STATEMENT EXECUTE FUNCTION kaphila_notify_keys();
