-- Roots of the trust domain: the one that `init` made, and its successors. Bundles carry those that a quorum signed, and what was retired.
CREATE TABLE trust_roots (
  -- SHA-256 of the certificate (DER), hex.
  fingerprint text PRIMARY KEY,
  -- DER, base64url; empty where only its retirement is known.
  certificate text NOT NULL,
  -- Name of its key; null where this network's control planes do not have it.
  key text,
  prepared_at bigint NOT NULL,
  prepared_by text NOT NULL,
  -- Canonical text of what the quorum signed; null for the first root, which needs none, and before there is a quorum.
  statement text,
  trusted_at bigint,
  activated_at bigint,
  retired_at bigint
);

CREATE TABLE trust_root_signatures (
  fingerprint text NOT NULL,
  -- Version of the operator set that it was made in.
  operators integer NOT NULL,
  operator text NOT NULL,
  signature jsonb NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (fingerprint, operators, operator)
);

-- Fingerprint of the root at the end of the chain; null is the first.
ALTER TABLE certificates ADD COLUMN root text;
