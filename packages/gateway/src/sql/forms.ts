import { sentOids } from './parameters.ts'
import type { Compiled } from './text/compile.ts'
import type { Frame } from './wire/frames.ts'
import * as wire from './wire/messages.ts'

/** What a database says of the columns of a statement. */
export interface Described {
  /** Their types; none where it returns no rows. */
  readonly columns: readonly number[]
  /** As the client is told it. */
  readonly told: Buffer
}

interface Kept {
  parse?: { readonly oids: readonly number[]; readonly count: number; readonly message: Buffer }
  description?: Described & { readonly body: Buffer }
}

/** Longer descriptions are read each time. */
const MAX_KEPT = 4096
const forms = new WeakMap<Compiled['form'], Kept>()

function keptOf({ form }: Compiled): Kept {
  let kept = forms.get(form)
  if (!kept) forms.set(form, (kept = {}))
  return kept
}

/** Asks a database to parse a statement, of which nothing is executed. @param count of the values that come with it */
export function parsing(compiled: Compiled, oids: readonly number[], count: number): Buffer {
  const kept = keptOf(compiled)
  const { parse } = kept
  const isSame = parse?.count === count && parse.oids.length === oids.length
  if (isSame && parse.oids.every((oid, i) => oid === oids[i])) return parse.message
  const sent = sentOids(oids, count, compiled.parameterTypes)
  const message = apart(wire.parse({ name: '', sql: compiled.sql, oids: sent }))
  kept.parse = { oids, count, message }
  return message
}

/** @param frame RowDescription or NoData. @throws RangeError where it is none */
export function descriptionOf(compiled: Compiled, { type, body }: Frame): Described {
  if (type !== 'T') return NOTHING
  const kept = keptOf(compiled)
  if (kept.description?.body.equals(body)) return kept.description
  const described = { columns: wire.columnTypes(body), told: wire.strippedDescription(body) }
  if (body.length <= MAX_KEPT) {
    kept.description = { ...described, told: apart(described.told), body: apart(body) }
  }
  return described
}

const NOTHING: Described = { columns: [], told: wire.NO_DATA }

/** In memory of its own: a small buffer is a part of a larger one, which it would keep. */
function apart(bytes: Buffer): Buffer {
  const own = Buffer.alloc(bytes.length)
  bytes.copy(own)
  return own
}
