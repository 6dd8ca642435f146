-- Mandates that were given here, whole chains, for gateways to verify: nothing here makes one valid.
CREATE TABLE mandates (
  -- The hash of the statement.
  id text PRIMARY KEY,
  delegator text NOT NULL,
  delegate text NOT NULL,
  -- Signed statements, root first: text, because their bytes were hashed.
  chain text NOT NULL,
  -- Ids, root first.
  ids jsonb NOT NULL,
  registered_by text NOT NULL,
  issued_at bigint NOT NULL,
  expires_at bigint NOT NULL
);
CREATE INDEX mandates_by_issue ON mandates (issued_at DESC);
CREATE INDEX mandates_by_registrar ON mandates (registered_by, expires_at);

-- Also of mandates that agents only carry. What is below one ends with it.
CREATE TABLE revoked_mandates (
  id text PRIMARY KEY,
  not_after bigint NOT NULL,
  reason text NOT NULL,
  by text NOT NULL,
  at bigint NOT NULL
);

-- Grant -1 counts uses, the others sum amounts.
CREATE TABLE mandate_counts (
  id text NOT NULL,
  grant_index integer NOT NULL,
  total bigint NOT NULL CHECK (total >= 0),
  expires_at bigint NOT NULL,
  PRIMARY KEY (id, grant_index)
);
CREATE INDEX mandate_counts_by_expiry ON mandate_counts (expires_at);

CREATE TABLE mandate_reservations (
  decision_id text PRIMARY KEY,
  hops jsonb NOT NULL,
  at bigint NOT NULL,
  state text NOT NULL DEFAULT 'reserved' CHECK (state IN ('reserved', 'committed', 'released'))
);
CREATE INDEX mandate_reservations_by_time ON mandate_reservations (at);

-- Reserves one use and the amount of every hop, or of none. The ids are hashes of what bounds them, so the bounds that come with
-- a hop are the mandate's own.
CREATE FUNCTION reserve_mandate(p_decision text, p_hops jsonb, p_now bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v_known mandate_reservations%ROWTYPE;
  v_hop record;
BEGIN
  -- Always in one order, so that no two wait for each other.
  FOR v_hop IN SELECT DISTINCT h->>'id' AS id FROM jsonb_array_elements(p_hops) h ORDER BY 1 LOOP
    PERFORM pg_advisory_xact_lock(hashtextextended('mandate ' || v_hop.id, 0));
  END LOOP;
  SELECT * INTO v_known FROM mandate_reservations r WHERE r.decision_id = p_decision;
  IF FOUND THEN
    -- The same request again, after an answer that was lost: still one use.
    RETURN CASE WHEN v_known.state = 'reserved' AND v_known.hops = p_hops THEN 'granted' ELSE 'used' END;
  END IF;
  IF EXISTS (SELECT FROM jsonb_array_elements(p_hops) h JOIN revoked_mandates r ON r.id = h->>'id') THEN
    RETURN 'revoked';
  END IF;
  FOR v_hop IN SELECT x.id, x.uses, x.grant, x.amount, x.total, x."expiresAt" AS expires_at
                 FROM jsonb_to_recordset(p_hops)
                   AS x(id text, uses bigint, "grant" integer, amount bigint, total bigint, "expiresAt" bigint) LOOP
    IF v_hop.expires_at <= p_now THEN RETURN 'used'; END IF;
    IF coalesce((SELECT c.total FROM mandate_counts c WHERE c.id = v_hop.id AND c.grant_index = -1), 0) + 1 > v_hop.uses THEN
      RETURN 'used';
    END IF;
    IF v_hop.total IS NOT NULL AND
       coalesce((SELECT c.total FROM mandate_counts c WHERE c.id = v_hop.id AND c.grant_index = v_hop.grant), 0)
         + v_hop.amount > v_hop.total THEN
      RETURN 'used';
    END IF;
  END LOOP;
  INSERT INTO mandate_counts AS c (id, grant_index, total, expires_at)
    SELECT x.id, k.grant_index, k.taken, x."expiresAt"
      FROM jsonb_to_recordset(p_hops)
             AS x(id text, "grant" integer, amount bigint, total bigint, "expiresAt" bigint),
           LATERAL (VALUES (-1, 1::bigint), (x.grant, x.amount)) AS k(grant_index, taken)
     WHERE k.grant_index = -1 OR x.total IS NOT NULL
    ON CONFLICT (id, grant_index) DO UPDATE SET total = c.total + excluded.total;
  INSERT INTO mandate_reservations (decision_id, hops, at) VALUES (p_decision, p_hops, p_now);
  RETURN 'granted';
END $$;

-- Settles a reservation once; what did not go out no longer counts.
CREATE FUNCTION settle_mandate(p_decision text, p_commit boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v mandate_reservations%ROWTYPE;
  v_state text := CASE WHEN p_commit THEN 'committed' ELSE 'released' END;
  v_hop record;
BEGIN
  SELECT * INTO v FROM mandate_reservations r WHERE r.decision_id = p_decision;
  IF NOT FOUND THEN RETURN 'unknown'; END IF;
  FOR v_hop IN SELECT DISTINCT h->>'id' AS id FROM jsonb_array_elements(v.hops) h ORDER BY 1 LOOP
    PERFORM pg_advisory_xact_lock(hashtextextended('mandate ' || v_hop.id, 0));
  END LOOP;
  SELECT * INTO v FROM mandate_reservations r WHERE r.decision_id = p_decision FOR UPDATE;
  IF v.state <> 'reserved' THEN RETURN v.state; END IF;
  UPDATE mandate_reservations SET state = v_state WHERE decision_id = p_decision;
  IF NOT p_commit THEN
    UPDATE mandate_counts c SET total = c.total - k.taken
      FROM jsonb_to_recordset(v.hops) AS x(id text, "grant" integer, amount bigint),
           LATERAL (VALUES (-1, 1::bigint), (x.grant, x.amount)) AS k(grant_index, taken)
     WHERE c.id = x.id AND c.grant_index = k.grant_index;
  END IF;
  RETURN v_state;
END $$;
