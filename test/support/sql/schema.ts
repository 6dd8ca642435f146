/** Secrets stand in what is not declared, and in rows that nobody has; each can be looked for in whatever comes out. */
export const SECRET = 'SECRET-'

export const SCHEMA: string = `
CREATE TABLE accounts (
  id bigint PRIMARY KEY, iban text NOT NULL, owner text, balance bigint NOT NULL, branch text NOT NULL,
  opened date NOT NULL, open bool NOT NULL DEFAULT true, ssn text NOT NULL DEFAULT '${SECRET}ssn'
);
CREATE TABLE payments (
  id bigint PRIMARY KEY, account bigint NOT NULL REFERENCES accounts, amount bigint NOT NULL CHECK (amount > 0),
  memo text, at timestamptz NOT NULL DEFAULT '2026-01-01T00:00:00Z', trace text NOT NULL DEFAULT '${SECRET}trace'
);
CREATE TABLE vault (id bigint PRIMARY KEY, content text NOT NULL);
CREATE VIEW peek AS SELECT * FROM vault;
CREATE FUNCTION vault_of(bigint) RETURNS text LANGUAGE sql AS 'SELECT content FROM vault WHERE id = $1';
CREATE FUNCTION lower(text, int) RETURNS text LANGUAGE sql AS 'SELECT content FROM vault';
INSERT INTO vault VALUES (1, '${SECRET}vault');
INSERT INTO accounts
  SELECT i, 'DE' || lpad(i::text, 20, '0'), CASE WHEN i % 7 = 0 THEN NULL ELSE 'Owner ' || i END, i * 10,
    (ARRAY['north', 'south', 'east', 'zero'])[1 + i % 4], date '2020-01-01' + i, i % 5 <> 0,
    '${SECRET}ssn-' || i
  FROM generate_series(1, 40) AS i;
UPDATE accounts SET owner = '${SECRET}owner-' || id, iban = '${SECRET}iban-' || id, balance = 0 WHERE branch = 'zero';
INSERT INTO payments (id, account, amount, memo, trace)
  SELECT i, 1 + i % 40, 1 + i, 'memo ' || i, '${SECRET}trace-' || i FROM generate_series(1, 200) AS i;
GRANT USAGE ON SCHEMA public TO gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO gateway;
`
