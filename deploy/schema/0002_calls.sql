-- Ended calls and stored recordings.

CREATE TABLE call_logs (
	call_id      text PRIMARY KEY,
	api_key_id   integer NOT NULL REFERENCES api_keys,
	node         integer NOT NULL,
	number       text NOT NULL,
	caller_id    text,
	trunk        text,
	status       text NOT NULL,
	end_reason   text NOT NULL,
	hangup_cause integer,
	was_answered boolean NOT NULL,
	amd_status   text NOT NULL,
	amd_cause    text,
	duration_s   integer NOT NULL,
	recording    text,
	created_at   timestamptz NOT NULL,
	answered_at  timestamptz,
	ended_at     timestamptz
);

CREATE INDEX call_logs_key ON call_logs (api_key_id, created_at DESC);

COMMENT ON COLUMN call_logs.duration_s IS
	'whole seconds from the answer, rounded up; 0 when not answered';
COMMENT ON COLUMN call_logs.hangup_cause IS 'Q.850; null: none was told';
COMMENT ON COLUMN call_logs.recording IS 'recording_id, if it was recorded';

-- No foreign key on the call: its log row may be posted later.
CREATE TABLE recordings (
	recording_id text PRIMARY KEY,
	call_id      text NOT NULL,
	api_key_id   integer NOT NULL REFERENCES api_keys,
	filename     text NOT NULL,
	duration_s   integer NOT NULL,
	size_bytes   bigint NOT NULL,
	created_at   timestamptz NOT NULL
);

CREATE INDEX recordings_key ON recordings (api_key_id, created_at DESC);
CREATE INDEX recordings_call ON recordings (call_id);
