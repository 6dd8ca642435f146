import type { Token } from './lex.ts'

/** Cedar's JSON policy format ("EST"), as the parser returns it for a policy given as text. */
export interface PolicyEst {
  readonly effect: 'permit' | 'forbid'
  readonly principal: ScopeEst
  readonly action: ScopeEst
  readonly resource: ScopeEst
  readonly conditions: readonly ConditionEst[]
  readonly annotations?: Readonly<Record<string, string | null>>
}

export interface UidEst {
  readonly type: string
  readonly id: string
}

export interface ScopeEst {
  readonly op: 'All' | '==' | 'in' | 'is'
  readonly entity?: UidEst
  readonly entities?: readonly UidEst[]
  readonly entity_type?: string
  readonly slot?: string
  readonly in?: { readonly entity?: UidEst; readonly slot?: string }
}

export interface ConditionEst {
  readonly kind: 'when' | 'unless'
  readonly body: ExprEst
}

/** An object with one member: the operator's name → its operands. */
export type ExprEst = Readonly<Record<string, unknown>>

export interface LiftedSource {
  /** The source with every integer that a double cannot hold replaced by a stand-in that it can. */
  readonly source: string
  /** Stand-in → what was written. */
  readonly integers: ReadonlyMap<number, bigint>
}

const NO_INTEGERS: ReadonlyMap<number, bigint> = new Map()

/**
 * The parser's JavaScript binding returns integers as doubles. Integers beyond 2⁵³ are therefore replaced
 * in the text by unused small ones before parsing, and put back by `restoreInteger`.
 */
export function liftIntegers(source: string, tokens: readonly Token[]): LiftedSource {
  const written = new Set<number>()
  const large: Token[] = []
  for (const token of tokens) {
    if (token.kind !== 'number') continue
    const value = Number(source.slice(token.start, token.end))
    if (Number.isSafeInteger(value)) written.add(value)
    else large.push(token)
  }
  if (large.length === 0) return { source, integers: NO_INTEGERS }
  const integers = new Map<number, bigint>()
  let text = ''
  let at = 0
  let next = Number.MAX_SAFE_INTEGER
  for (const token of large) {
    while (written.has(next)) next--
    integers.set(next, BigInt(source.slice(token.start, token.end)))
    text += source.slice(at, token.start) + String(next)
    at = token.end
    next--
  }
  return { source: text + source.slice(at), integers }
}

export function restoreInteger(
  value: number,
  integers: ReadonlyMap<number, bigint>,
): number | bigint {
  const large = integers.get(Math.abs(value))
  if (large === undefined) return value
  return value < 0 ? -large : large
}
