-- Roles that an operator took for a short while, loudly: until somebody else has reviewed it, it is unfinished.
CREATE TABLE break_glass (
  id text PRIMARY KEY,
  operator text NOT NULL,
  -- It holds in the session in which it was opened, and in no other.
  session_id text NOT NULL,
  roles jsonb NOT NULL,
  reason text NOT NULL,
  incident_id text NOT NULL REFERENCES incidents,
  opened_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  ended_at bigint,
  reviewed_at bigint,
  reviewed_by text,
  review text,
  CHECK (reviewed_by <> operator),
  CHECK ((reviewed_at IS NULL) = (reviewed_by IS NULL) AND (reviewed_at IS NULL) = (review IS NULL))
);
CREATE INDEX break_glass_by_session ON break_glass (session_id);
CREATE INDEX break_glass_by_time ON break_glass (opened_at);

-- What was asked for under it, before it was done.
CREATE TABLE break_glass_acts (
  break_glass_id text NOT NULL REFERENCES break_glass,
  seq bigint GENERATED ALWAYS AS IDENTITY,
  at bigint NOT NULL,
  method text NOT NULL,
  path text NOT NULL,
  PRIMARY KEY (break_glass_id, seq)
);
-- One page polls; what was read is listed once.
CREATE UNIQUE INDEX break_glass_reads ON break_glass_acts (break_glass_id, path) WHERE method = 'GET';
