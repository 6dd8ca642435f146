-- Sessions know what opened them and what they are bound to. Those of before do not, so everybody signs in anew.
DROP TABLE sessions;
CREATE TABLE sessions (
  hash text PRIMARY KEY,
  -- What lists and revocations name it by; opens nothing.
  id text NOT NULL UNIQUE,
  operator text NOT NULL,
  method text NOT NULL CHECK (method IN ('passkey', 'totp', 'oidc')),
  csrf text NOT NULL,
  -- The passkey that opened it: it ends with it.
  credential_id text,
  -- The account at an identity provider, and the groups that its ID token named.
  provider text,
  subject text,
  display_name text,
  groups jsonb,
  user_agent text NOT NULL,
  address text NOT NULL,
  started_at bigint NOT NULL,
  last_used bigint NOT NULL,
  CHECK ((method = 'passkey') = (credential_id IS NOT NULL)),
  CHECK ((method = 'oidc') = (provider IS NOT NULL AND subject IS NOT NULL AND groups IS NOT NULL))
);
CREATE INDEX sessions_by_operator ON sessions (operator);

-- What people have to be told of, whether or not anybody was listening.
CREATE TABLE alarms (
  id text PRIMARY KEY,
  at bigint NOT NULL,
  kind text NOT NULL,
  operator text NOT NULL,
  text text NOT NULL
);
CREATE INDEX alarms_by_time ON alarms (at);
