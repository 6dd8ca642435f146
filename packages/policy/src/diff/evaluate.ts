import { EntityStore } from '@sallyport/cedar'
import type { BinaryOperator, CedarJson, EntityJson, EntityUid, Expr } from '@sallyport/cedar'
import { extensionCall } from './extensions.ts'
import { quote, representable } from './terms.ts'
import type { Term, Terms } from './terms.ts'
import {
  choose,
  contains,
  containsAll,
  containsAny,
  dateMatches,
  equal,
  symOf,
  Undecidable,
} from './values.ts'
import type { Sym } from './values.ts'

/** What an expression comes to: an error where `error` holds, else the value. No value means that it always errs. */
export interface Result {
  readonly error: Term
  readonly value: Sym | undefined
}

/** What an expression is evaluated in. */
export interface Scope {
  readonly principal: EntityUid
  readonly action: EntityUid
  readonly resource: EntityUid
  readonly context: Sym
  readonly entities: Entities
  /** Called for a condition that cannot be encoded: what stands for it instead. */
  unknown(expr: Expr, why: string): { readonly error: Term; readonly value: Term }
}

const keyOf = ({ type, id }: EntityUid): string => JSON.stringify([type, id])

/** The entities of a declaration with their ancestors. */
export class Entities {
  readonly #attributes = new Map<string, Readonly<Record<string, CedarJson>>>()
  readonly #ancestors = new Map<string, ReadonlySet<string>>()

  constructor(entities: readonly EntityJson[]) {
    // Refuses cycles and doubles, as a decision would.
    EntityStore.from(entities)
    const parents = new Map(entities.map(({ uid, parents }) => [keyOf(uid), parents.map(keyOf)]))
    for (const { uid, attrs } of entities) {
      const key = keyOf(uid)
      this.#attributes.set(key, attrs)
      const found = new Set<string>()
      const waiting = [...(parents.get(key) ?? [])]
      for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
        if (found.has(at)) continue
        found.add(at)
        waiting.push(...(parents.get(at) ?? []))
      }
      this.#ancestors.set(key, found)
    }
  }

  isIn(a: EntityUid, b: EntityUid): boolean {
    const [x, y] = [keyOf(a), keyOf(b)]
    return x === y || this.#ancestors.get(x)?.has(y) === true
  }

  /** Undefined for an unknown entity, whose attributes cannot be read. */
  attributes(uid: EntityUid): Readonly<Record<string, CedarJson>> | undefined {
    return this.#attributes.get(keyOf(uid))
  }
}

/** Evaluates an expression for every request at once, with Cedar's short circuits and its errors. */
export class Evaluator {
  readonly #t: Terms
  readonly #scope: Scope

  constructor(terms: Terms, scope: Scope) {
    this.#t = terms
    this.#scope = scope
  }

  /** A condition: an error, or a bool. */
  condition(expr: Expr): { readonly error: Term; readonly value: Term } {
    try {
      const { error, value } = this.evaluate(expr)
      if (value === undefined) return { error: this.#t.true, value: this.#t.false }
      if (value.kind !== 'bool') return { error: this.#t.true, value: this.#t.false }
      return { error, value: value.term }
    } catch (cause) {
      if (!(cause instanceof Undecidable)) throw cause
      return this.#scope.unknown(expr, cause.message)
    }
  }

  /** @throws Undecidable */
  evaluate(expr: Expr): Result {
    const t = this.#t
    switch (expr.kind) {
      case 'bool':
        return this.#ok({ kind: 'bool', term: t.bool(expr.value) })
      case 'long':
        return this.#ok({ kind: 'long', term: t.long(expr.value) })
      case 'string':
        if (!representable(expr.value)) throw new Undecidable('a character beyond plane 2')
        return this.#ok({ kind: 'string', term: t.string(expr.value) })
      case 'entity':
        return this.#ok({ kind: 'entity', uid: expr.uid })
      case 'variable':
        return this.#ok(
          expr.name === 'context'
            ? this.#scope.context
            : { kind: 'entity', uid: this.#scope[expr.name] },
        )
      case 'not': {
        const { error, value } = this.condition(expr.operand)
        return { error, value: { kind: 'bool', term: t.not(value) } }
      }
      case 'negate':
        return this.#map(expr.operand, (value) => {
          if (value.kind !== 'long') return FAILS
          const { value: term, overflow } = t.arithmetic('-', t.long(0), value.term)
          return { error: overflow, value: { kind: 'long', term } }
        })
      case 'isEmpty':
        return this.#map(expr.operand, (value) =>
          value.kind === 'set'
            ? this.#bool(t.not(t.or(...value.items.map(({ present }) => present))))
            : FAILS,
        )
      case 'binary':
        return this.#binary(expr.operator, expr.left, expr.right)
      case 'if':
        return this.#conditional(expr)
      case 'attribute':
        return this.#map(expr.of, (value) => this.#attribute(value, expr.name))
      case 'has':
        return this.#map(expr.of, (value) => this.#has(value, expr.path))
      case 'like':
        return this.#map(expr.operand, (value) => this.#like(value, expr.pattern))
      case 'is':
        return this.#is(expr)
      case 'set':
        return this.#all(expr.items, (values) => ({
          kind: 'set',
          items: values.map((value) => ({ present: t.true, value })),
        }))
      case 'record':
        return this.#all(
          expr.members.map(([, value]) => value),
          (values) => {
            const present = t.true
            const members = values.map((value, i) => {
              return [expr.members[i]?.[0] ?? '', { present, value }] as const
            })
            return { kind: 'record', members: new Map(members) }
          },
        )
      case 'call':
        return this.#call(expr.function, expr.args)
    }
  }

  #ok(value: Sym): Result {
    return { error: this.#t.false, value }
  }

  #bool(term: Term): Step {
    return { error: this.#t.false, value: { kind: 'bool', term } }
  }

  #map(operand: Expr, step: (value: Sym) => Step): Result {
    const { error, value } = this.evaluate(operand)
    return value === undefined ? ALWAYS(this.#t) : this.#after(error, step(value))
  }

  #after(error: Term, step: Step): Result {
    if (step === FAILS) return ALWAYS(this.#t)
    return { error: this.#t.or(error, step.error), value: step.value }
  }

  #all(items: readonly Expr[], make: (values: readonly Sym[]) => Sym): Result {
    const results = items.map((item) => this.evaluate(item))
    const values = results.flatMap(({ value }) => (value === undefined ? [] : [value]))
    if (values.length < items.length) return ALWAYS(this.#t)
    return { error: this.#t.or(...results.map(({ error }) => error)), value: make(values) }
  }

  #conditional({ test, yes, no }: Extract<Expr, { kind: 'if' }>): Result {
    const t = this.#t
    const { error, value } = this.condition(test)
    if (value === t.true) return this.#guarded(error, this.evaluate(yes))
    if (value === t.false) return this.#guarded(error, this.evaluate(no))
    const [a, b] = [this.evaluate(yes), this.evaluate(no)]
    const failed = t.or(error, t.ite(value, a.error, b.error))
    if (a.value === undefined) return { error: failed, value: b.value }
    if (b.value === undefined) return { error: failed, value: a.value }
    return { error: failed, value: choose(t, value, a.value, b.value) }
  }

  #guarded(error: Term, result: Result): Result {
    return { error: this.#t.or(error, result.error), value: result.value }
  }

  #binary(operator: BinaryOperator, left: Expr, right: Expr): Result {
    const t = this.#t
    if (operator === '&&' || operator === '||') {
      const a = this.condition(left)
      // The right side is not looked at where the left one decides.
      const decided = operator === '&&' ? t.false : t.true
      if (a.value === decided) return { error: a.error, value: { kind: 'bool', term: decided } }
      const b = this.condition(right)
      const reached = operator === '&&' ? a.value : t.not(a.value)
      const term = operator === '&&' ? t.and(a.value, b.value) : t.or(a.value, b.value)
      return { error: t.or(a.error, t.and(reached, b.error)), value: { kind: 'bool', term } }
    }
    const [a, b] = [this.evaluate(left), this.evaluate(right)]
    if (a.value === undefined || b.value === undefined) return ALWAYS(t)
    return this.#after(t.or(a.error, b.error), this.#apply(operator, a.value, b.value))
  }

  #apply(operator: BinaryOperator, a: Sym, b: Sym): Step {
    const t = this.#t
    switch (operator) {
      case '==':
        return this.#bool(equal(t, a, b))
      case '!=':
        return this.#bool(t.not(equal(t, a, b)))
      case '<':
      case '<=':
      case '>':
      case '>=':
        return this.#compare(operator, a, b)
      case '+':
      case '-':
      case '*': {
        if (a.kind !== 'long' || b.kind !== 'long') return FAILS
        const { value: term, overflow } = t.arithmetic(operator, a.term, b.term)
        return { error: overflow, value: { kind: 'long', term } }
      }
      case 'in':
        return this.#in(a, b)
      case 'contains':
        return a.kind === 'set' ? this.#bool(contains(t, a, b)) : FAILS
      case 'containsAll':
      case 'containsAny': {
        if (a.kind !== 'set' || b.kind !== 'set') return FAILS
        return this.#bool((operator === 'containsAll' ? containsAll : containsAny)(t, a, b))
      }
      default:
        // The entities of a network have no tags.
        throw new Undecidable('entity tags')
    }
  }

  #compare(operator: '<' | '<=' | '>' | '>=', a: Sym, b: Sym): Step {
    const ordered = a.kind === 'long' || a.kind === 'datetime' || a.kind === 'duration'
    if (!ordered || a.kind !== b.kind || !('term' in b)) return FAILS
    const t = this.#t
    const [x, y] = operator === '<' || operator === '<=' ? [a.term, b.term] : [b.term, a.term]
    return this.#bool(operator.length === 1 ? t.less(x, y) : t.atMost(x, y))
  }

  #in(a: Sym, b: Sym): Step {
    const t = this.#t
    const { entities } = this.#scope
    if (a.kind !== 'entity') return FAILS
    if (b.kind === 'entity') return this.#bool(t.bool(entities.isIn(a.uid, b.uid)))
    if (b.kind !== 'set') return FAILS
    const found: Term[] = []
    for (const { present, value } of b.items) {
      if (value.kind !== 'entity') return FAILS
      if (entities.isIn(a.uid, value.uid)) found.push(present)
    }
    return this.#bool(t.or(...found))
  }

  #attribute(value: Sym, name: string): Step {
    const t = this.#t
    if (value.kind === 'record') {
      const member = value.members.get(name)
      if (member?.value.kind === 'opaque') throw new Undecidable(member.value.why)
      return member ? { error: t.not(member.present), value: member.value } : FAILS
    }
    if (value.kind !== 'entity') return FAILS
    const attributes = this.#scope.entities.attributes(value.uid)
    const found = attributes && Object.hasOwn(attributes, name) ? attributes[name] : undefined
    return found === undefined ? FAILS : { error: t.false, value: symOf(t, found) }
  }

  #has(value: Sym, path: readonly string[]): Step {
    const t = this.#t
    let at: Sym = value
    const present: Term[] = []
    for (const [i, name] of path.entries()) {
      if (at.kind !== 'record' && at.kind !== 'entity') {
        if (i === 0) return FAILS
        throw new Undecidable('`has` through something that has no attributes')
      }
      const step = this.#attribute(at, name)
      if (step === FAILS) return this.#bool(t.false)
      present.push(t.not(step.error))
      at = step.value
    }
    return this.#bool(t.and(...present))
  }

  #like(value: Sym, parts: readonly string[]): Step {
    const t = this.#t
    const test = (text: string): boolean => wildcards(text, parts)
    if (value.kind === 'date') return this.#bool(dateMatches(t, value.day, test))
    if (value.kind !== 'string') return FAILS
    if (!parts.every(representable)) throw new Undecidable('a character beyond plane 2')
    const pieces = parts.flatMap((text, i) => {
      const literal = text === '' ? [] : [`(str.to_re ${quote(text)})`]
      return i === 0 ? literal : ['re.all', ...literal]
    })
    const language =
      pieces.length > 1 ? `(re.++ ${pieces.join(' ')})` : (pieces[0] ?? '(str.to_re "")')
    return this.#bool(t.matches(value.term, language, test))
  }

  #is(expr: Extract<Expr, { kind: 'is' }>): Result {
    return this.#map(expr.operand, (value) => {
      if (value.kind !== 'entity') return FAILS
      if (value.uid.type !== expr.type) return this.#bool(this.#t.false)
      if (expr.in === undefined) return this.#bool(this.#t.true)
      const within = this.evaluate(expr.in)
      if (within.value === undefined) return FAILS
      const step = this.#in(value, within.value)
      if (step === FAILS) return FAILS
      return { error: this.#t.or(within.error, step.error), value: step.value }
    })
  }

  #call(name: string, args: readonly Expr[]): Result {
    const results = args.map((arg) => this.evaluate(arg))
    const values = results.flatMap(({ value }) => (value === undefined ? [] : [value]))
    if (values.length < args.length) return ALWAYS(this.#t)
    const error = this.#t.or(...results.map((result) => result.error))
    return this.#after(error, extensionCall(this.#t, name, values) ?? FAILS)
  }
}

interface StepResult {
  readonly error: Term
  readonly value: Sym
}

/** An operation that fails whatever the variables are. */
const FAILS = Symbol('fails')
type Step = StepResult | typeof FAILS

const ALWAYS = (t: Terms): Result => ({ error: t.true, value: undefined })

function wildcards(text: string, [first = '', ...rest]: readonly string[]): boolean {
  if (rest.length === 0) return text === first
  const last = rest.pop() ?? ''
  if (!text.startsWith(first) || !text.endsWith(last)) return false
  if (text.length < first.length + last.length) return false
  let at = first.length
  for (const part of rest) {
    const found = text.indexOf(part, at)
    if (found < 0 || found + part.length > text.length - last.length) return false
    at = found + part.length
  }
  return true
}
