-- Signed checkpoints of audit logs, held where whoever can cut a log short cannot reach them.
CREATE TABLE audit_checkpoints (
  shard text NOT NULL,
  size bigint NOT NULL,
  note text NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (shard, size)
);
