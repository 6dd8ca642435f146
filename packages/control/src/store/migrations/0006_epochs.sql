-- The newest bundle that a gateway has shown and that this database does not know: it was restored from a backup.
CREATE TABLE later_bundle (
  sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
  epoch bigint NOT NULL,
  n bigint NOT NULL,
  declaration_digest text NOT NULL,
  shown_by text NOT NULL,
  at bigint NOT NULL
);

-- What a later bundle brings back may cut the same subject a second time; the lock on the head keeps one act from being two.
DROP INDEX quarantines_in_force;
CREATE INDEX quarantines_in_force ON quarantines (subject) WHERE released_at IS NULL;
