import type { Sort, Term } from './terms.ts'

const SORTS: Readonly<Record<Sort, string>> = {
  Bool: 'Bool',
  Long: '(_ BitVec 64)',
  String: 'String',
  Address: '(_ BitVec 128)',
}

/** Variables of a formula. */
export function variablesOf(terms: readonly Term[]): Set<Term> {
  const seen = new Set<Term>()
  const found = new Set<Term>()
  const waiting = [...terms]
  for (let term = waiting.pop(); term !== undefined; term = waiting.pop()) {
    if (seen.has(term)) continue
    seen.add(term)
    if (term.variable) found.add(term)
    waiting.push(...term.args)
  }
  return found
}

/** Asks in SMT-LIB 2 whether all of `asserted` can hold at once, and for the values of their variables. */
export function scriptOf(asserted: readonly Term[], timeoutMs: number): string {
  const uses = new Map<Term, number>()
  const order: Term[] = []
  const visit = (term: Term): void => {
    const before = uses.get(term) ?? 0
    uses.set(term, before + 1)
    if (before > 0) return
    for (const arg of term.args) visit(arg)
    order.push(term)
  }
  for (const term of asserted) visit(term)
  const variables = order.filter(({ variable }) => variable)
  const named = new Map<Term, string>()
  const lines = variables.map(({ op, sort }) => `(declare-const ${op} ${SORTS[sort]})`)
  const text = (term: Term): string => named.get(term) ?? plain(term)
  const plain = ({ op, args }: Term): string => {
    if (args.length === 0) return op
    const [first = ''] = args.map(text)
    if (op.startsWith('str.in_re ')) return `(str.in_re ${first} ${op.slice(10)})`
    if (op.startsWith('str.len ')) return `(<= (str.len ${first}) ${op.slice(8)})`
    if (op === 'masked') {
      const [, mask = '', bits = ''] = args.map(text)
      return `(= (bvand ${first} ${mask}) ${bits})`
    }
    return `(${op} ${args.map(text).join(' ')})`
  }
  for (const term of order) {
    // What is used twice is written once.
    if (term.args.length === 0 || (uses.get(term) ?? 0) < 2) continue
    lines.push(`(define-fun t${term.id} () ${SORTS[term.sort]} ${plain(term)})`)
    named.set(term, `t${term.id}`)
  }
  return [
    `(set-option :timeout ${timeoutMs})`,
    ...lines,
    ...asserted.map((term) => `(assert ${text(term)})`),
    '(check-sat)',
    variables.length === 0 ? '' : `(get-value (${variables.map(({ op }) => op).join(' ')}))`,
  ].join('\n')
}

/** Values by the name of their variable. */
export type Model = ReadonlyMap<string, boolean | bigint | string>

/** Reads what `get-value` answered: pairs of a name and a literal. */
export function parseModel(text: string): Model {
  const model = new Map<string, boolean | bigint | string>()
  const pair = /\((\|[^|]+\|)\s+(true|false|#x[0-9a-f]+|#b[01]+|"(?:[^"]|"")*")\)/g
  for (const [, name = '', literal = ''] of text.matchAll(pair)) model.set(name, valueOf(literal))
  return model
}

function valueOf(literal: string): boolean | bigint | string {
  if (literal === 'true' || literal === 'false') return literal === 'true'
  if (literal.startsWith('#')) return BigInt(`0${literal.slice(1)}`)
  return literal
    .slice(1, -1)
    .replaceAll('""', '"')
    .replace(/\\u\{([0-9a-fA-F]{1,5})\}|\\u([0-9a-fA-F]{4})/g, (_, a?: string, b?: string) =>
      String.fromCodePoint(Number.parseInt(a ?? b ?? '', 16)),
    )
}
