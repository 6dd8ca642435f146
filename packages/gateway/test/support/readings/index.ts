import { binary } from './binary.ts'
import { h2 } from './h2.ts'
import { http } from './http.ts'
import { postgresStart } from './postgres-start.ts'
import { postgres } from './postgres.ts'
import { proxy } from './proxy.ts'
import type { Kind } from './reading.ts'
import { rpc } from './rpc.ts'
import { texts } from './texts.ts'

/** All parts that judge what others wrote, each beside another reader. */
export const KINDS: readonly Kind[] = [
  ...[...http, ...h2, ...texts, ...rpc],
  ...[...binary, ...postgres, ...postgresStart, ...proxy],
]
export { readTwice } from './reading.ts'
