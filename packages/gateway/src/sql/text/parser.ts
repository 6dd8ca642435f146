import { SqlRefusal, unsupported } from '../refuse.ts'
import { listOf, only, plain, unwrap } from './nodes.ts'
import type { Node } from './nodes.ts'

const MAX_BYTES = 65_536

type Scan = (text: string) => { readonly tokens: readonly { readonly tokenName: string }[] }

interface Parser {
  readonly parse: (text: string) => unknown
  readonly scan: Scan
}

let parser: Promise<Parser> | undefined

type Parsed = readonly [kind: string, node: Node] | undefined

/** Texts that were parsed before; trees are only read. */
const known = new Map<string, Parsed>()
const MAX_KNOWN = 500
const MAX_KNOWN_CHARACTERS = 2000

/** Loaded when the first statement comes: gateways without databases never do. */
async function load(): Promise<Parser> {
  const { loadModule, parseSync, scanSync } = await import('libpg-query')
  await loadModule()
  return { parse: parseSync, scan: scanSync }
}

/**
 * Parses one statement with PostgreSQL's own parser. Comments are gone from then on.
 *
 * @returns kind and node of the statement; undefined for an empty text
 * @throws SqlRefusal `SP_SQL_SYNTAX`, `SP_SQL_UNSUPPORTED`
 */
export async function parseStatement(text: string): Promise<Parsed> {
  if (known.has(text)) return known.get(text)
  const parsed = await parseAnew(text)
  if (text.length > MAX_KNOWN_CHARACTERS) return parsed
  if (known.size >= MAX_KNOWN) known.clear()
  known.set(text, parsed)
  return parsed
}

async function parseAnew(text: string): Promise<Parsed> {
  if (Buffer.byteLength(text) > MAX_BYTES) throw unsupported(`a text of over ${MAX_BYTES} bytes`)
  if (text.includes('\0') || !text.isWellFormed()) throw unsupported('a text that is not UTF-8')
  if (text.trim() === '') return undefined
  const { parse, scan } = await (parser ??= load())
  let tree: unknown
  try {
    demandShallow(text, scan)
    tree = parse(text)
  } catch (error) {
    if (error instanceof SqlRefusal) throw error
    if (error instanceof Error && error.name === 'SqlError') {
      throw new SqlRefusal(
        'SP_SQL_SYNTAX',
        `the statement cannot be read: ${clip(error.message)}`,
        '42601',
      )
    }
    // Whatever stopped the parser may have left it in any state.
    throw new SqlRefusal('SP_SQL_SYNTAX', 'the statement cannot be read', '42601', {
      detail: String(error),
    })
  }
  const statements = listOf(plain(tree)['stmts'])
  const [first, ...more] = statements
  if (more.length > 0) throw unsupported('more than one statement in a text')
  if (first === undefined) return undefined
  const statement = plain(first)
  only(statement, 'this statement', 'stmt')
  return unwrap(statement['stmt'])
}

const clip = (text: string): string => text.slice(0, 200).toWellFormed()

/** Beyond this many words and signs a text is read token by token before anything recurses over it. */
const SHORT = 300
/** Each level of nesting takes at least one of them; at three times as many the parser's stack would end. */
const MAX_TOKENS = 900
/** Values and commas do not nest. */
const FLAT: ReadonlySet<string> = new Set(['ICONST', 'FCONST', 'SCONST', 'PARAM', 'ASCII_44'])

function demandShallow(text: string, scan: Scan): void {
  // Words of long values count too, which only sends more texts the longer way.
  if ((text.match(/[^\s\w,]|[^\W\d]\w*/g)?.length ?? 0) <= SHORT) return
  let tokens = 0
  for (const { tokenName } of scan(text).tokens) if (!FLAT.has(tokenName)) tokens++
  if (tokens > MAX_TOKENS) throw unsupported(`a statement of more than ${MAX_TOKENS} words`)
}
