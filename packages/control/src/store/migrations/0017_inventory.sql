-- What was asked for and is declared nowhere: counted, bounded, without values.
CREATE TABLE drift (
  -- `caller`, `operation`, `field`, `destination` or `flow`.
  kind text NOT NULL,
  -- The declared system that it was asked of; empty where there is none.
  system text NOT NULL,
  name text NOT NULL,
  -- An agent, or an address; `*` where there were too many.
  asked_by text NOT NULL,
  calls bigint NOT NULL,
  first_at bigint NOT NULL,
  last_at bigint NOT NULL,
  PRIMARY KEY (kind, system, name, asked_by)
);
CREATE INDEX drift_of_one ON drift (kind, asked_by);
CREATE INDEX drift_end ON drift (last_at);

-- When what is declared was last used, and by whom.
CREATE TABLE inventory_uses (
  -- `operation` (`SYSTEM.OPERATION`) or `dataset`.
  kind text NOT NULL,
  name text NOT NULL,
  asked_by text NOT NULL,
  calls bigint NOT NULL,
  last_at bigint NOT NULL,
  PRIMARY KEY (kind, name, asked_by)
);
