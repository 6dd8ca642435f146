-- Public keys of JWT-SVIDs. The private ones never leave the process that made them; each row is signed with the bundle key, so
-- that whoever can write here alone cannot make anybody trust another one.
CREATE TABLE jwt_svid_keys (
  kid text PRIMARY KEY,
  key text NOT NULL,
  not_after bigint NOT NULL,
  signature text NOT NULL
);
