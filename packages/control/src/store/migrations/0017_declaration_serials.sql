-- Serials that drafts were given: operators sign them, and declarations come into force in their order.
CREATE TABLE declaration_serials (
  serial bigint PRIMARY KEY CHECK (serial >= 1),
  digest text NOT NULL REFERENCES declarations,
  at bigint NOT NULL
);
CREATE INDEX declaration_serials_digest ON declaration_serials (digest, serial);

-- 0 is what was signed before there were serials.
ALTER TABLE declaration_signatures ADD COLUMN serial bigint NOT NULL DEFAULT 0;
ALTER TABLE declaration_signatures DROP CONSTRAINT declaration_signatures_pkey;
ALTER TABLE declaration_signatures ADD PRIMARY KEY (digest, epoch, serial, operator);
ALTER TABLE declaration_signatures ALTER COLUMN serial DROP DEFAULT;

-- Of the declaration in force: 0 for that of `init`.
ALTER TABLE bundle_head ADD COLUMN declaration_serial bigint NOT NULL DEFAULT 0;
ALTER TABLE later_bundle ADD COLUMN declaration_serial bigint NOT NULL DEFAULT 0;
