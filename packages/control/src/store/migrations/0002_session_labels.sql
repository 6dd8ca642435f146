-- What each instance has touched, as far as its gateways have said: read for every decision that another enforcement point asks for.
CREATE TABLE session_labels (
  instance text NOT NULL,
  label text NOT NULL,
  PRIMARY KEY (instance, label)
);
-- Label records hold names of this declaration and SPIFFE ids only, so that jsonb takes them.
INSERT INTO session_labels (instance, label)
  SELECT DISTINCT record::jsonb ->> 'instance', jsonb_array_elements_text(record::jsonb -> 'added')
    FROM feed WHERE kind = 'labels';
