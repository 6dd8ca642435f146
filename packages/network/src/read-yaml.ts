import { CST, isMap, isScalar, isSeq, Lexer, LineCounter, parseDocument, Parser } from 'yaml'
import type { Node, Pair } from 'yaml'
import type { JsonValue, SourceSpan } from '@sallyport/base'
import type { Problem, ProblemCode } from './problem.ts'

export interface YamlLimits {
  readonly maxBytes: number
  readonly maxDepth: number
  readonly maxNodes: number
}

const LIMITS: YamlLimits = { maxBytes: 1_048_576, maxDepth: 32, maxNodes: 50_000 }

/** A YAML text as plain JSON, with the place of each of its parts. */
export interface Located {
  readonly file: string
  readonly value: JsonValue
  /** Where the value at a JSON pointer (RFC 6901) stands. */
  at(pointer: string): SourceSpan
  /** Where its key stands; the value's place for array items. */
  keyAt(pointer: string): SourceSpan
}

/**
 * Reads the subset of YAML 1.2 that is JSON with comments: no anchors, aliases, tags, directives, merge keys or
 * second document, only string keys, each once; at most 1 MiB, 32 levels, 50,000 nodes unless told otherwise. The bounds are enforced on
 * the token stream, before anything recursive or quadratic sees the text.
 */
export function readYaml(
  text: string,
  file: string,
  limits: YamlLimits = LIMITS,
): { readonly located?: Located; readonly problems: readonly Problem[] } {
  const lines = new LineCounter()
  const problems: Problem[] = []
  const spanOf = (start: number, end: number): SourceSpan => {
    const from = lines.linePos(start)
    const to = lines.linePos(end)
    // The counter answers 0 for what precedes the first line it saw: an empty text.
    return {
      file,
      line: Math.max(1, from.line),
      column: Math.max(1, from.col),
      endLine: Math.max(1, to.line),
      endColumn: Math.max(1, to.col),
    }
  }
  const report = (
    code: ProblemCode,
    start: number,
    end: number,
    message: string,
    why: string,
    fix: string,
  ): void => {
    problems.push({ code, message, why, fix, span: spanOf(start, end) })
  }

  const size = Buffer.byteLength(text)
  if (size > limits.maxBytes) {
    report(
      'SP_NETWORK_TOO_LARGE',
      0,
      0,
      `the file has ${size} bytes, the limit is ${limits.maxBytes}`,
      'an unbounded text could exhaust the machine that checks it',
      'split the API descriptions into files of their own',
    )
    return { problems }
  }
  const stop = scan(text, limits)
  if (stop) {
    lines.addNewLine(0)
    for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) {
      lines.addNewLine(at + 1)
    }
    const { code, offset, message, why, fix } = stop
    report(code, offset, offset, message, why, fix)
    return { problems }
  }

  const document = parseDocument(text, {
    lineCounter: lines,
    version: '1.2',
    schema: 'core',
    merge: false,
    strict: true,
    // Checked below in linear time; the library compares every pair.
    uniqueKeys: false,
    stringKeys: true,
    prettyErrors: false,
    logLevel: 'silent',
  })
  for (const error of [...document.errors, ...document.warnings]) {
    const [start, end] = error.pos
    report(
      'SP_NETWORK_YAML',
      start,
      end,
      `the YAML is malformed: ${decapitalise(error.message)}`,
      'a text that is not YAML cannot be read safely',
      'correct the syntax at this place',
    )
  }
  if (problems.length > 0) return { problems }

  const places = new Map<string, SourceSpan>()
  const keys = new Map<string, SourceSpan>()
  const convert = (node: Node | null | undefined, pointer: string): JsonValue => {
    if (node?.range) places.set(pointer, spanOf(node.range[0], node.range[1]))
    if (isSeq<Node>(node)) return node.items.map((item, i) => convert(item, `${pointer}/${i}`))
    if (isMap(node)) {
      const record: Record<string, JsonValue> = {}
      // `stringKeys` makes every key a scalar; the composer reports anything else as an error above.
      for (const pair of node.items as Pair<Node, Node | null>[]) {
        const key = isScalar(pair.key) ? String(pair.key.value) : ''
        const range = pair.key.range ?? [0, 0, 0]
        if (key === '__proto__') {
          report(
            'SP_NETWORK_YAML_FEATURE',
            range[0],
            range[1],
            'the key `__proto__` is not accepted',
            'some readers take it as an instruction',
            'choose another name',
          )
          continue
        }
        if (Object.hasOwn(record, key)) {
          report(
            'SP_NETWORK_DUPLICATE_KEY',
            range[0],
            range[1],
            `the key \`${key.slice(0, 80)}\` stands twice in one mapping`,
            'two readers could each honour a different one',
            'keep one of the two',
          )
          continue
        }
        const inner = `${pointer}/${escapePointer(key)}`
        keys.set(inner, spanOf(range[0], range[1]))
        record[key] = convert(pair.value, inner)
        if (!places.has(inner)) places.set(inner, spanOf(range[0], range[1]))
      }
      return record
    }
    if (!isScalar(node)) return null
    const { value } = node
    if (value === null || typeof value === 'boolean' || typeof value === 'string') return value
    if (typeof value === 'number' && Number.isFinite(value)) {
      if (!Number.isInteger(value) || Number.isSafeInteger(value)) return value
    }
    report(
      'SP_NETWORK_YAML',
      node.range?.[0] ?? 0,
      node.range?.[1] ?? 0,
      `the number \`${(node.source ?? '').slice(0, 80)}\` cannot be held exactly`,
      'a rounded limit or amount would be enforced wrongly',
      'use a whole number below 2^53, or quote it if it is a string',
    )
    return null
  }
  const value = convert(document.contents, '')
  if (problems.length > 0) return { problems }
  const at = (pointer: string): SourceSpan => {
    for (let p = pointer; ; p = p.slice(0, p.lastIndexOf('/'))) {
      const place = places.get(p)
      if (place) return place
      if (p === '') return spanOf(0, 0)
    }
  }
  const keyAt = (pointer: string): SourceSpan => keys.get(pointer) ?? at(pointer)
  return { located: { file, value, at, keyAt }, problems }
}

/** A member name as a JSON pointer token (RFC 6901 section 3). */
export function escapePointer(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1')
}

interface Stop {
  readonly code: ProblemCode
  readonly offset: number
  readonly message: string
  readonly why: string
  readonly fix: string
}

const FEATURES: Readonly<Record<string, string>> = {
  anchor: 'an anchor (`&`)',
  alias: 'an alias (`*`)',
  tag: 'a tag (`!`)',
  'directive-line': 'a directive (`%`)',
}

const COUNTED: ReadonlySet<string> = new Set([
  'scalar',
  'seq-item-ind',
  'map-value-ind',
  'flow-map-start',
  'flow-seq-start',
])

/** Walks the lexical tokens, bounding depth and count; stops at the first feature that is refused. */
function scan(text: string, { maxNodes, maxDepth }: YamlLimits): Stop | undefined {
  const parser = new Parser()
  let nodes = 0
  let documents = 0
  let inScalar = false
  const feature = (what: string, offset = parser.offset): Stop => ({
    code: 'SP_NETWORK_YAML_FEATURE',
    offset,
    message: `${what} is not accepted here`,
    why: 'a declaration means exactly what it shows: nothing is copied, typed or merged behind the text',
    fix: 'write the value out, or quote it if it is plain text',
  })
  const tooLarge = (message: string): Stop => ({
    code: 'SP_NETWORK_TOO_LARGE',
    offset: parser.offset,
    message,
    why: 'an unbounded text could exhaust the machine that checks it',
    fix: 'split the API descriptions into files of their own',
  })
  for (const lexeme of new Lexer().lex(text)) {
    // The lexer announces plain scalars with a marker token; their text follows and is no token of its own.
    const type: CST.TokenType | null = inScalar ? null : CST.tokenType(lexeme)
    inScalar = type === 'scalar'
    const refused = FEATURES[type ?? '']
    if (refused !== undefined) return feature(refused)
    if (COUNTED.has(type ?? '') && ++nodes > maxNodes) {
      return tooLarge(`the file has more than ${maxNodes} nodes`)
    }
    for (const token of parser.next(lexeme)) {
      if (token.type === 'document' && ++documents > 1)
        return feature('a second document', token.offset)
    }
    // The stack holds the document, its open collections and perhaps a scalar.
    if (parser.stack.length > maxDepth + 2) {
      return tooLarge(`the file nests deeper than ${maxDepth}`)
    }
  }
  for (const token of parser.end()) {
    if (token.type === 'document' && ++documents > 1)
      return feature('a second document', token.offset)
  }
  return undefined
}

function decapitalise(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}
