-- Times are milliseconds since the epoch. JSON whose bytes were signed or hashed is kept as text, the rest as jsonb.

CREATE TABLE installation (
  sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
  trust_domain text NOT NULL,
  -- SHA-256 of pins.json: a database belongs to one trust root.
  pins_digest text NOT NULL
);

CREATE TABLE declarations (
  digest text PRIMARY KEY,
  body text NOT NULL,
  proposed_by text NOT NULL,
  proposed_at bigint NOT NULL
);

CREATE TABLE declaration_signatures (
  digest text NOT NULL REFERENCES declarations,
  epoch bigint NOT NULL,
  operator text NOT NULL,
  signature jsonb NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (digest, epoch, operator)
);

-- One row: the bundle in force without its declaration. Locking it orders every revision.
CREATE TABLE bundle_head (
  sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
  epoch bigint NOT NULL,
  n bigint NOT NULL,
  declaration_digest text NOT NULL REFERENCES declarations (digest),
  state text NOT NULL,
  signature text NOT NULL
);

-- Declarations that were replaced do not return within their epoch.
CREATE TABLE superseded_declarations (
  epoch bigint NOT NULL,
  digest text NOT NULL REFERENCES declarations,
  PRIMARY KEY (epoch, digest)
);

CREATE TABLE operator_sets (
  version integer PRIMARY KEY CHECK (version >= 1),
  link text NOT NULL,
  at bigint NOT NULL
);

CREATE TABLE operator_proposal (
  sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
  operator_set text NOT NULL,
  proposed_by text NOT NULL,
  at bigint NOT NULL
);

CREATE TABLE operator_proposal_signatures (
  set_digest text NOT NULL,
  operator text NOT NULL,
  signature jsonb NOT NULL,
  PRIMARY KEY (set_digest, operator)
);

CREATE TABLE operator_links (
  hash text PRIMARY KEY,
  operator text NOT NULL,
  created_by text NOT NULL,
  expires_at bigint NOT NULL,
  used_at bigint
);

CREATE TABLE operator_totp (
  operator text PRIMARY KEY,
  secret text NOT NULL,
  last_step bigint NOT NULL DEFAULT -1
);

CREATE TABLE sessions (
  hash text PRIMARY KEY,
  operator text NOT NULL,
  method text NOT NULL CHECK (method IN ('passkey', 'totp')),
  csrf text NOT NULL,
  expires_at bigint NOT NULL
);

CREATE TABLE challenges (
  hash text PRIMARY KEY,
  purpose text NOT NULL,
  expires_at bigint NOT NULL
);

CREATE TABLE join_tokens (
  hash text PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('agent', 'service', 'gateway')),
  name text NOT NULL,
  created_by text NOT NULL,
  expires_at bigint NOT NULL,
  used_at bigint,
  used_for text
);

CREATE TABLE instances (
  spiffe_id text PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('agent', 'service', 'gateway')),
  name text NOT NULL,
  enrolled_by text NOT NULL,
  -- The one certificate that may be renewed.
  serial text NOT NULL,
  not_after bigint NOT NULL,
  first_seen bigint NOT NULL,
  last_seen bigint NOT NULL,
  risk double precision NOT NULL DEFAULT 0,
  risk_at bigint NOT NULL DEFAULT 0,
  risk_reasons text NOT NULL DEFAULT '[]'
);
CREATE INDEX instances_by_name ON instances (kind, name);
CREATE INDEX instances_by_expiry ON instances (not_after);

CREATE TABLE certificates (
  serial text PRIMARY KEY,
  spiffe_id text NOT NULL REFERENCES instances,
  key_digest text NOT NULL,
  chain text NOT NULL,
  not_after bigint NOT NULL,
  issued_at bigint NOT NULL,
  -- The serial it was renewed from.
  renews text
);
CREATE INDEX certificates_by_instance ON certificates (spiffe_id, not_after);
CREATE UNIQUE INDEX certificates_lineage ON certificates (renews) WHERE renews IS NOT NULL;

CREATE TABLE revoked_serials (
  serial text PRIMARY KEY,
  not_after bigint NOT NULL,
  at bigint NOT NULL
);

CREATE TABLE quarantines (
  id text PRIMARY KEY,
  subject text NOT NULL,
  reason text NOT NULL,
  by text NOT NULL,
  at bigint NOT NULL,
  -- Fixed by the first who asks, so that a quorum signs the same one.
  release_statement text,
  released_at bigint,
  released_epoch bigint
);
CREATE UNIQUE INDEX quarantines_in_force ON quarantines (subject) WHERE released_at IS NULL;

CREATE TABLE release_signatures (
  quarantine_id text NOT NULL REFERENCES quarantines,
  operator text NOT NULL,
  signature jsonb NOT NULL,
  PRIMARY KEY (quarantine_id, operator)
);

CREATE TABLE approvals (
  id text PRIMARY KEY,
  -- SHA-256 of exactly what is asked for, canonical.
  asked text NOT NULL,
  status text NOT NULL CHECK (status IN ('pending', 'approved', 'denied', 'expired', 'used')),
  instance text NOT NULL,
  agent text NOT NULL,
  system text NOT NULL,
  operation text NOT NULL,
  input text NOT NULL,
  count integer NOT NULL CHECK (count >= 1),
  declaration_digest text NOT NULL,
  nonce text NOT NULL,
  decision_id text NOT NULL,
  requested_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  used_at bigint,
  used_by text
);
CREATE UNIQUE INDEX approvals_open ON approvals (asked) WHERE status IN ('pending', 'approved');
CREATE INDEX approvals_by_time ON approvals (requested_at);
CREATE INDEX approvals_by_decision ON approvals (decision_id);
CREATE INDEX approvals_by_use ON approvals (used_by) WHERE used_by IS NOT NULL;

CREATE TABLE approval_statements (
  approval_id text NOT NULL REFERENCES approvals,
  approver text NOT NULL,
  decision text NOT NULL CHECK (decision IN ('approve', 'deny')),
  signed text NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (approval_id, approver)
);

CREATE TABLE feed_shards (
  shard text PRIMARY KEY,
  gateway text NOT NULL,
  next bigint NOT NULL
);

CREATE TABLE feed (
  seq bigint GENERATED ALWAYS AS IDENTITY,
  shard text NOT NULL,
  index bigint NOT NULL,
  kind text NOT NULL,
  at bigint NOT NULL,
  decision_id text,
  agent text,
  instance text,
  system text,
  operation text,
  decision text,
  -- Text: what attackers wrote may hold characters that jsonb refuses.
  record text NOT NULL,
  explanation text,
  PRIMARY KEY (shard, index)
);
CREATE UNIQUE INDEX feed_by_seq ON feed (seq);
CREATE INDEX feed_by_decision ON feed (decision_id) WHERE decision_id IS NOT NULL;
CREATE INDEX feed_decisions ON feed (seq) WHERE kind = 'decision';
CREATE INDEX feed_decisions_of_agent ON feed (agent, seq) WHERE kind = 'decision';
CREATE INDEX feed_decisions_of_instance ON feed (instance, seq) WHERE kind = 'decision';
CREATE INDEX feed_decisions_recent ON feed (at) WHERE kind = 'decision';

-- Counts by agent: kept as they come, because counting millions on every look would not do.
CREATE TABLE call_counts (
  agent text NOT NULL,
  decision text NOT NULL,
  calls bigint NOT NULL,
  PRIMARY KEY (agent, decision)
);

CREATE TABLE detector_state (
  sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
  -- The last feed row that the snapshot has taken in.
  seq bigint NOT NULL,
  snapshot text NOT NULL
);

CREATE TABLE limit_buckets (
  limit_id text NOT NULL,
  agent text NOT NULL,
  instance text NOT NULL,
  bucket bigint NOT NULL,
  width bigint NOT NULL,
  calls bigint NOT NULL,
  total bigint NOT NULL,
  PRIMARY KEY (limit_id, agent, bucket, width, instance)
);

CREATE TABLE reservations (
  id text PRIMARY KEY,
  limit_id text NOT NULL,
  agent text NOT NULL,
  instance text NOT NULL,
  decision_id text NOT NULL,
  amount bigint NOT NULL CHECK (amount >= 0),
  bucket bigint NOT NULL,
  width bigint NOT NULL,
  at bigint NOT NULL,
  state text NOT NULL DEFAULT 'reserved' CHECK (state IN ('reserved', 'committed', 'released')),
  UNIQUE (decision_id, limit_id)
);
CREATE INDEX reservations_by_time ON reservations (at);

-- Reserves one call and `p_amount` of a limit, or says when to ask again. The window slides by whole buckets and its oldest
-- one counts in full, so that it never grants more than the exact window would.
CREATE FUNCTION reserve_limit(
  p_id text, p_limit text, p_agent text, p_instance text, p_decision text, p_amount bigint,
  p_max_calls bigint, p_max_total bigint, p_window bigint, p_width bigint, p_now bigint
) RETURNS TABLE (granted boolean, reservation text, retry_at bigint) LANGUAGE plpgsql AS $$
DECLARE
  v_bucket bigint := p_now / p_width;
  -- Every bucket that ends after the window begins.
  v_first bigint := (p_now - p_window) / p_width;
  v_calls numeric;
  v_total numeric;
  v_retry bigint;
  v_known reservations%ROWTYPE;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(p_limit || chr(10) || p_agent, 0));
  SELECT * INTO v_known FROM reservations r WHERE r.decision_id = p_decision AND r.limit_id = p_limit;
  IF FOUND THEN
    -- The same request again, after an answer that was lost: still one call.
    IF v_known.state = 'reserved' AND v_known.agent = p_agent AND v_known.instance = p_instance
       AND v_known.amount = p_amount THEN
      RETURN QUERY SELECT true, v_known.id, NULL::bigint;
    ELSE
      RETURN QUERY SELECT false, NULL::text, NULL::bigint;
    END IF;
    RETURN;
  END IF;
  SELECT coalesce(sum(b.calls), 0), coalesce(sum(b.total), 0) INTO v_calls, v_total
    FROM limit_buckets b
   WHERE b.limit_id = p_limit AND b.agent = p_agent AND (b.bucket + 1) * b.width > v_first * p_width;
  IF v_calls + 1 > coalesce(p_max_calls, v_calls + 1) OR v_total + p_amount > coalesce(p_max_total, v_total + p_amount) THEN
    -- When the oldest buckets that make room for this call have left the window.
    SELECT min(gone.leaves) INTO v_retry FROM (
      SELECT (o.bucket + 1) * o.width + p_window AS leaves,
             sum(o.calls) OVER w AS calls, sum(o.total) OVER w AS total
        FROM limit_buckets o
       WHERE o.limit_id = p_limit AND o.agent = p_agent AND (o.bucket + 1) * o.width > v_first * p_width
      WINDOW w AS (ORDER BY o.bucket * o.width RANGE UNBOUNDED PRECEDING)
    ) gone
     WHERE v_calls - gone.calls + 1 <= coalesce(p_max_calls, v_calls - gone.calls + 1)
       AND v_total - gone.total + p_amount <= coalesce(p_max_total, v_total - gone.total + p_amount);
    RETURN QUERY SELECT false, NULL::text, v_retry;
    RETURN;
  END IF;
  INSERT INTO limit_buckets AS b (limit_id, agent, instance, bucket, width, calls, total)
    VALUES (p_limit, p_agent, p_instance, v_bucket, p_width, 1, p_amount)
    ON CONFLICT (limit_id, agent, bucket, width, instance)
    DO UPDATE SET calls = b.calls + 1, total = b.total + p_amount;
  INSERT INTO reservations (id, limit_id, agent, instance, decision_id, amount, bucket, width, at)
    VALUES (p_id, p_limit, p_agent, p_instance, p_decision, p_amount, v_bucket, p_width, p_now);
  RETURN QUERY SELECT true, p_id, NULL::bigint;
END $$;

-- Settles a reservation once; released ones no longer count.
CREATE FUNCTION settle_limit(p_id text, p_commit boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v reservations%ROWTYPE;
  v_state text := CASE WHEN p_commit THEN 'committed' ELSE 'released' END;
BEGIN
  SELECT * INTO v FROM reservations r WHERE r.id = p_id FOR UPDATE;
  IF NOT FOUND THEN RETURN 'unknown'; END IF;
  IF v.state <> 'reserved' THEN RETURN v.state; END IF;
  UPDATE reservations SET state = v_state WHERE id = p_id;
  IF NOT p_commit THEN
    UPDATE limit_buckets SET calls = calls - 1, total = total - v.amount
     WHERE limit_id = v.limit_id AND agent = v.agent AND instance = v.instance
       AND bucket = v.bucket AND width = v.width;
  END IF;
  RETURN v_state;
END $$;

CREATE TABLE incidents (
  id text PRIMARY KEY,
  subject text NOT NULL,
  status text NOT NULL CHECK (status IN ('open', 'contained', 'closed')),
  opened_at bigint NOT NULL,
  closed_at bigint,
  risk double precision NOT NULL
);
CREATE UNIQUE INDEX incidents_open ON incidents (subject) WHERE status <> 'closed';
CREATE INDEX incidents_by_time ON incidents (opened_at);

CREATE TABLE incident_entries (
  incident_id text NOT NULL REFERENCES incidents,
  seq bigint GENERATED ALWAYS AS IDENTITY,
  at bigint NOT NULL,
  kind text NOT NULL,
  text text NOT NULL,
  decision_id text,
  PRIMARY KEY (incident_id, seq)
);
CREATE UNIQUE INDEX incident_entries_once ON incident_entries (incident_id, decision_id) WHERE kind = 'decision';
