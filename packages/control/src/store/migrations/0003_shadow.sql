-- Declarations that gateways decide by as well, without effect. The one that has not ended is in shadow now.
CREATE TABLE shadow_runs (
  digest text NOT NULL REFERENCES declarations,
  -- The declaration in force meanwhile: a comparison with another one says nothing.
  against text NOT NULL REFERENCES declarations (digest),
  started_at bigint NOT NULL,
  started_by text NOT NULL,
  ended_at bigint,
  PRIMARY KEY (digest, started_at)
);
CREATE UNIQUE INDEX shadow_runs_now ON shadow_runs ((true)) WHERE ended_at IS NULL;

-- `kind` is `agreed`, `failed`, `skipped`, or how it came out and how it would have: `deny-allow`.
CREATE TABLE shadow_counts (
  digest text NOT NULL,
  against text NOT NULL,
  kind text NOT NULL,
  calls bigint NOT NULL,
  PRIMARY KEY (digest, against, kind)
);

-- A few decisions of each kind, to look at.
CREATE TABLE shadow_examples (
  digest text NOT NULL,
  against text NOT NULL,
  kind text NOT NULL,
  decision_id text NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (digest, against, kind, decision_id)
);
