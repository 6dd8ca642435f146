-- What the authorisation server has handed out once: by hash, so that a reader of this table can present nothing.
CREATE TABLE oauth_artefacts (
  hash text PRIMARY KEY,
  kind text NOT NULL,
  payload text NOT NULL,
  expires_at bigint NOT NULL,
  grant_hash text,
  alias text,
  consumed bigint
);
CREATE UNIQUE INDEX oauth_artefacts_alias ON oauth_artefacts (alias) WHERE alias IS NOT NULL;
CREATE INDEX oauth_artefacts_grant ON oauth_artefacts (grant_hash) WHERE grant_hash IS NOT NULL;
CREATE INDEX oauth_artefacts_end ON oauth_artefacts (expires_at);

-- Public keys of access tokens. The private ones never leave the process that made them; each row is signed with the bundle key,
-- so that whoever can write here alone cannot make gateways trust another one.
CREATE TABLE token_keys (
  kid text PRIMARY KEY,
  key text NOT NULL,
  not_after bigint NOT NULL,
  signature text NOT NULL
);

-- Access tokens that count no more, with whatever was made from them, until they expire.
CREATE TABLE revoked_tokens (
  jti text PRIMARY KEY,
  exp bigint NOT NULL,
  client text NOT NULL,
  at bigint NOT NULL
);
CREATE INDEX revoked_tokens_client ON revoked_tokens (client);
