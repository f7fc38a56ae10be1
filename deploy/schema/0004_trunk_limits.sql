-- How a trunk is chosen among those of a key, and how much it takes. The limits
-- are a trunk's own, whoever's calls they are, on each node by itself.
-- The trigger of 0003 tells the nodes of every change here.

ALTER TABLE trunks
	ADD COLUMN priority  integer NOT NULL DEFAULT 0
	                     CHECK (priority BETWEEN 0 AND 1000),
	ADD COLUMN weight    integer NOT NULL DEFAULT 1
	                     CHECK (weight BETWEEN 1 AND 100),
	ADD COLUMN max_calls integer NOT NULL DEFAULT 0
	                     CHECK (max_calls BETWEEN 0 AND 1000000),
	ADD COLUMN max_cps   integer NOT NULL DEFAULT 0
	                     CHECK (max_cps BETWEEN 0 AND 1000000);

COMMENT ON COLUMN trunks.priority IS
	'the lowest that has a free trunk is taken';
COMMENT ON COLUMN trunks.weight IS
	'how often its turn comes among those of its priority';
COMMENT ON COLUMN trunks.max_calls IS 'calls at a time; 0: no limit';
COMMENT ON COLUMN trunks.max_cps IS 'calls begun in a second; 0: no limit';
