-- After a database was restored nobody knows what was used of mandates that were given before: they are over.
CREATE TABLE mandate_floor (
  sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
  issued_after bigint NOT NULL
);
