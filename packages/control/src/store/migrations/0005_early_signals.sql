-- What was noticed of instances lately, whether an incident was open or not: one that opens begins with it.
CREATE TABLE signals (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  instance text NOT NULL,
  at bigint NOT NULL,
  text text NOT NULL
);
CREATE INDEX signals_instance ON signals (instance, seq);
CREATE INDEX signals_at ON signals (at);
