-- The key hierarchy under which secrets and keys are encrypted: wrapped keys only, one document, replaced as a whole.
CREATE TABLE barrier (
  sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
  document text NOT NULL
);
