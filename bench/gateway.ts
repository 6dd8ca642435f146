/** Figures of the gateway. Arguments name parts to run; all of them otherwise. */
import { benchGrpc } from './gateway/grpc.ts'
import { benchHttp } from './gateway/http.ts'
import { idle } from './gateway/idle.ts'
import { mcp } from './gateway/mcp.ts'
import { mixed } from './gateway/mixed.ts'
import { benchLlm } from './gateway/llm.ts'
import { benchProjection } from './gateway/projection.ts'
import { redact } from './gateway/redact.ts'
import { sql } from './gateway/sql.ts'
import { workers } from './gateway/workers.ts'
import { runParts } from './parts.ts'
import type { Part } from './parts.ts'
import type { Row } from './row.ts'

const PARTS: Readonly<Record<string, Part>> = {
  projection: benchProjection,
  redact,
  sql,
  http: benchHttp,
  grpc: benchGrpc,
  mcp,
  workers,
  idle,
  mixed,
  llm: benchLlm,
}

export const run = (args: readonly string[]): Promise<Row[]> => runParts(PARTS, args)
