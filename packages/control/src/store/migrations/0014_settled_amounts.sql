-- What a call took is known only once it is over, where tokens of a model are counted: a reservation may be settled for another
-- amount than was reserved. Nothing said settles it for what was.
DROP FUNCTION settle_limit(text, boolean);
CREATE FUNCTION settle_limit(p_id text, p_commit boolean, p_amount bigint DEFAULT NULL)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v reservations%ROWTYPE;
  v_state text := CASE WHEN p_commit THEN 'committed' ELSE 'released' END;
  v_amount bigint;
BEGIN
  SELECT * INTO v FROM reservations r WHERE r.id = p_id FOR UPDATE;
  IF NOT FOUND THEN RETURN 'unknown'; END IF;
  IF v.state <> 'reserved' THEN RETURN v.state; END IF;
  v_amount := CASE WHEN p_commit THEN coalesce(p_amount, v.amount) ELSE 0 END;
  UPDATE reservations SET state = v_state, amount = CASE WHEN p_commit THEN v_amount ELSE amount END
   WHERE id = p_id;
  UPDATE limit_buckets
     SET calls = calls - CASE WHEN p_commit THEN 0 ELSE 1 END, total = total - v.amount + v_amount
   WHERE limit_id = v.limit_id AND agent = v.agent AND instance = v.instance
     AND bucket = v.bucket AND width = v.width;
  RETURN v_state;
END $$;
