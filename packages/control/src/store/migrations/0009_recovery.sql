-- Secrets of codes lay here unsealed, and so in backups: they are set up anew, and sealed from now on.
DELETE FROM operator_totp;

-- One operator's word that another may sign in by a code, once and soon.
CREATE TABLE recoveries (
  operator text PRIMARY KEY,
  confirmed_by text NOT NULL,
  confirmed_at bigint NOT NULL,
  CHECK (operator <> confirmed_by)
);
