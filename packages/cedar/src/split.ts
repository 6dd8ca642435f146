import { SallyportError } from '@sallyport/base'
import { boundAll } from './check.ts'
import type { PolicyEst } from './est.ts'
import { tokenise, POLICY_LIMITS } from './lex.ts'
import { parsePolicies } from './parser.ts'

/** One policy out of a file. */
export interface SplitPolicy {
  readonly id: string
  readonly source: string
  readonly file: string
  /** Of its first token, from 1. */
  readonly line: number
}

/**
 * Cuts a file of policies into single ones. A policy's id is its `@id`, else `FILE.policyN` (N from 0, FILE without
 * `.cedar`). Comments before a policy stay with it.
 *
 * @throws SallyportError `SP_CEDAR_SYNTAX` with a span, `SP_CEDAR_LIMIT`, `SP_CEDAR_PARSER`
 */
export async function splitPolicies(text: string, file: string): Promise<SplitPolicy[]> {
  if (text.length > POLICY_LIMITS.totalLength) {
    throw new SallyportError('SP_CEDAR_LIMIT', `\`${file}\` has ${text.length} characters`)
  }
  const pieces = cut(text)
  const name = file.replace(/^.*\//, '').replace(/\.cedar$/, '')
  await boundAll({
    policies: pieces.map(({ source }, i) => ({ id: `${name}.policy${i}`, source })),
  })
  const answers = await parsePolicies(pieces.map(({ source }) => source))
  const taken = new Set<string>()
  return pieces.map(({ source, start, first }, i) => {
    const answer = answers[i]
    if (answer?.type !== 'success') {
      const error = answer?.errors[0]
      const bytes = error?.sourceLocations?.[0]?.start ?? 0
      const at = start + Buffer.from(source).subarray(0, bytes).toString().length
      throw syntax(error?.message ?? 'not a policy', text, file, at)
    }
    const { annotations } = JSON.parse(answer.json) as PolicyEst
    const id = annotations?.['id'] ?? `${name}.policy${i}`
    if (taken.has(id)) throw syntax(`two policies have the id \`${id}\``, text, file, first)
    taken.add(id)
    return { id, source, file, line: position(text, first).line }
  })
}

function cut(text: string): { source: string; start: number; first: number }[] {
  const pieces: { source: string; start: number; first: number }[] = []
  let start = 0
  let first = -1
  const take = (end: number): void => {
    const source = text.slice(start, end)
    const lead = source.length - source.trimStart().length
    pieces.push({ source: source.trim(), start: start + lead, first })
    start = end
    first = -1
  }
  for (const token of tokenise(text)) {
    if (first < 0) first = token.start
    // Outside strings and comments, `;` stands nowhere but at the end of a policy.
    if (token.kind === 'punctuation' && text[token.start] === ';') take(token.end)
  }
  if (first >= 0) take(text.length)
  return pieces
}

function syntax(message: string, text: string, file: string, at: number): SallyportError {
  return new SallyportError('SP_CEDAR_SYNTAX', message, { span: { file, ...position(text, at) } })
}

function position(text: string, at: number): { line: number; column: number } {
  const before = text.slice(0, at)
  return { line: before.split('\n').length, column: at - before.lastIndexOf('\n') }
}
