-- What instances hold for a time: accounts in databases, and what stands for several of them.
CREATE TABLE leases (
  id text PRIMARY KEY,
  parent text REFERENCES leases (id),
  kind text NOT NULL CHECK (kind IN ('scope', 'database')),
  holder text NOT NULL,
  serial text NOT NULL,
  resource text NOT NULL,
  account text,
  -- Where the account is, as declared when it was made: it has to be ended whatever is declared by then.
  target text,
  -- Digest of what was declared. Another one ends the lease.
  terms text,
  state text NOT NULL CHECK (state IN ('creating', 'active', 'ending', 'ended')),
  -- Milliseconds of the database's clock, never going back (lease_clock).
  issued_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  max_expires_at bigint NOT NULL,
  ended_at bigint,
  end_reason text
);
CREATE INDEX leases_open ON leases (state) WHERE state <> 'ended';
CREATE INDEX leases_parent ON leases (parent);
CREATE UNIQUE INDEX leases_account ON leases (account);

CREATE TABLE lease_clock (
  sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
  high bigint NOT NULL
);
INSERT INTO lease_clock (high) VALUES (0);

-- Values are ciphertexts of the barrier, each bound to its path and version.
CREATE TABLE secrets (
  path text COLLATE "C" PRIMARY KEY,
  current int NOT NULL,
  newest int NOT NULL,
  at bigint NOT NULL
);
CREATE TABLE secret_versions (
  path text COLLATE "C" NOT NULL REFERENCES secrets (path),
  version int NOT NULL,
  value bytea,
  -- Id of the key at whoever made it, where a rotation did.
  key_id text,
  created_at bigint NOT NULL,
  created_by text NOT NULL,
  deleted_at bigint,
  destroyed_at bigint,
  PRIMARY KEY (path, version)
);

CREATE TABLE transit_keys (
  name text PRIMARY KEY,
  type text NOT NULL,
  newest int NOT NULL,
  min_decrypt int NOT NULL
);
CREATE TABLE transit_versions (
  name text NOT NULL REFERENCES transit_keys (name),
  version int NOT NULL,
  key bytea NOT NULL,
  public_key text,
  created_at bigint NOT NULL,
  PRIMARY KEY (name, version)
);

-- A rotation under way goes on where it stopped, whatever crashed.
CREATE TABLE rotations (
  id text PRIMARY KEY,
  path text NOT NULL,
  step text NOT NULL CHECK (step IN ('create', 'verify', 'switch', 'grace', 'revoke', 'done', 'failed')),
  reason text NOT NULL,
  by text NOT NULL,
  old_version int NOT NULL,
  old_key_id text,
  new_version int,
  new_key_id text,
  started_at bigint NOT NULL,
  grace_until bigint,
  ended_at bigint,
  error text
);
CREATE UNIQUE INDEX rotations_open ON rotations (path) WHERE ended_at IS NULL;
