-- What people let agents do for them: as long as this holds, and only then, codes and refresh tokens of the grant count.
CREATE TABLE oauth_grants (
  hash text PRIMARY KEY,
  subject text NOT NULL,
  client text NOT NULL,
  -- The passkey that signed, and the session that it was signed in: it ends with either.
  credential_id text NOT NULL,
  session_id text NOT NULL,
  since bigint NOT NULL,
  expires_at bigint NOT NULL,
  -- Statement and signature, as they were verified.
  signed text NOT NULL
);
CREATE INDEX oauth_grants_session ON oauth_grants (session_id);
CREATE INDEX oauth_grants_end ON oauth_grants (expires_at);

-- Agents that ask a person out of band (CIBA): named by the hash of what the agent polls with.
CREATE TABLE backchannel_requests (
  id text PRIMARY KEY,
  -- The question, apart from when it was asked.
  asked text NOT NULL,
  status text NOT NULL CHECK (status IN ('pending', 'allowed', 'refused')),
  operator text NOT NULL,
  client text NOT NULL,
  agent text NOT NULL,
  statement text NOT NULL,
  requested_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  polled_at bigint NOT NULL
);
CREATE INDEX backchannel_requests_operator ON backchannel_requests (operator, requested_at);
CREATE INDEX backchannel_requests_client ON backchannel_requests (client);
CREATE INDEX backchannel_requests_end ON backchannel_requests (expires_at);
