import { ordered } from './binary.ts'
import { asBool } from './code.ts'
import type { BoolCode, Comparison, Compiled, Operator } from './code.ts'
import { Interned } from './interned.ts'
import type { Env } from './operators.ts'
import { readOwn } from './path.ts'
import type { Read } from './path.ts'
import type { Scalar, Value } from './value.ts'

/** Clauses that must all hold: from the first up to, not including, the last. */
export interface ClauseRange {
  readonly from: number
  readonly to: number
}

/**
 * The first number of a clause: in the low bits an operator, by its place in this list, or that a closure is asked; then
 * whether the attribute is one of the context; above that, the place of what is read or asked.
 */
const OPERATORS = ['==', '!=', '<', '<=', '>', '>='] as const
const OPERATOR = 7
const CLOSURE = 7
const IN_CONTEXT = 8
const BITS = 4

/** Numbers that a clause takes; the second is the literal, or the place of one that is no number. */
const WIDTH = 2

/**
 * The clauses of all policies of a set, side by side. Most compare an attribute with a literal: such a clause is two
 * numbers, read in a loop, where a closure is several objects somewhere in memory and a call. An attribute is looked up once for
 * all clauses that read it, and again only where the context or the entity is another than the last.
 */
export class Clauses {
  #numbers = new Float64Array(64)
  #length = 0
  readonly #closures = new Interned<BoolCode>()
  readonly #literals = new Interned<Scalar>()
  readonly #reads = new Interned<Read>()
  /** What reads found, by place. What they read never changes: a value holds as long as the serial is the same. */
  readonly #values: (Value | undefined)[] = []
  /** Which of the values were found in the context, the principal and the resource. */
  readonly #found: Readonly<Record<Read['root'], number[]>> = {
    context: [],
    principal: [],
    resource: [],
  }
  /** Serials of these three; 0 is nothing's. */
  #context = 0
  #principal = 0
  #resource = 0

  add(clauses: readonly Compiled[]): ClauseRange {
    const from = this.#length
    for (const clause of clauses) {
      const { comparison } = clause
      if (comparison === undefined) {
        this.#push(CLOSURE + (this.#closures.place(asBool(clause)) << BITS), 0)
      } else this.#pushComparison(comparison)
    }
    return { from, to: this.#length }
  }

  /** Some of the clauses of a range, by their places in it, as a range of their own. */
  pick({ from }: ClauseRange, places: readonly number[]): ClauseRange {
    const start = this.#length
    for (const place of places) {
      const at = from + place * WIDTH
      this.#push(this.#numbers[at] ?? 0, this.#numbers[at + 1] ?? 0)
    }
    return { from: start, to: this.#length }
  }

  /** Whether all clauses of a range hold. @throws EvaluationError */
  hold({ from, to }: ClauseRange, env: Env): boolean {
    return this.holdFrom(from, to, env)
  }

  /** As `hold`. */
  holdFrom(from: number, to: number, env: Env): boolean {
    const { serial } = env.context
    // What is asked about once is quicker looked up than kept.
    const again = serial !== 0 && serial === this.#context
    if (!again && serial !== 0) this.#turnContext(serial)
    for (let at = from; at < to; at += WIDTH) {
      const what = this.#numbers[at] ?? 0
      const place = what >> BITS
      if ((what & OPERATOR) === CLOSURE) {
        if (!this.#closures.at(place)(env)) return false
        continue
      }
      const value =
        again && (what & IN_CONTEXT) !== 0
          ? (this.#values[place] ?? this.#find(place, env))
          : this.#reads.at(place).run(env)
      if (!this.#compare(at, what, value)) return false
    }
    return true
  }

  /** To be called before `holdAmong`, and again where it is to be asked about another environment. */
  begin({ context, principalRecord, resourceRecord }: Env): void {
    const [principal, resource] = [principalRecord?.serial ?? 0, resourceRecord?.serial ?? 0]
    if (context.serial !== this.#context || context.serial === 0) this.#turnContext(context.serial)
    if (principal !== this.#principal) {
      this.#forget(this.#found.principal)
      this.#principal = principal
    }
    if (resource !== this.#resource) {
      this.#forget(this.#found.resource)
      this.#resource = resource
    }
  }

  #turnContext(serial: number): void {
    this.#forget(this.#found.context)
    this.#context = serial
  }

  #forget(found: number[]): void {
    for (const place of found) this.#values[place] = undefined
    found.length = 0
  }

  /** As `hold`, where clauses of many policies are asked: what one reads, the others need not look up. */
  holdAmong({ from, to }: ClauseRange, env: Env): boolean {
    for (let at = from; at < to; at += WIDTH) {
      const what = this.#numbers[at] ?? 0
      const place = what >> BITS
      if ((what & OPERATOR) === CLOSURE) {
        if (!this.#closures.at(place)(env)) return false
      } else if (!this.#compare(at, what, this.#values[place] ?? this.#find(place, env))) {
        return false
      }
    }
    return true
  }

  /** Whether one clause of a range holds. @throws EvaluationError */
  holdsAt({ from }: ClauseRange, place: number, env: Env): boolean {
    const at = from + place * WIDTH
    return this.holdAmong({ from: at, to: at + WIDTH }, env)
  }

  #compare(at: number, what: number, value: Value): boolean {
    const literal = this.#numbers[at + 1] ?? 0
    switch (what & OPERATOR) {
      case 0:
        return value === this.#literals.at(literal)
      case 1:
        return value !== this.#literals.at(literal)
      case 2:
        return typeof value === 'number' ? value < literal : ordered('<', value, literal)
      case 3:
        return typeof value === 'number' ? value <= literal : ordered('<=', value, literal)
      case 4:
        return typeof value === 'number' ? value > literal : ordered('>', value, literal)
      default:
        return typeof value === 'number' ? value >= literal : ordered('>=', value, literal)
    }
  }

  #find(place: number, env: Env): Value {
    const read = this.#reads.at(place)
    const own = readOwn(read, env)
    // What is read by way of another entity depends on the store, too.
    if (own === undefined) return read.run(env)
    this.#values[place] = own
    this.#found[read.root].push(place)
    return own
  }

  #pushComparison({ operator, read, literal }: Comparison): void {
    const place = this.#reads.place(read)
    if (place >= this.#values.length) this.#values.push(undefined)
    const inContext = read.root === 'context' ? IN_CONTEXT : 0
    const what = OPERATORS.indexOf(operator) + inContext + (place << BITS)
    this.#push(what, isEquality(operator) ? this.#literals.place(literal) : Number(literal))
  }

  #push(what: number, literal: number): void {
    if (this.#length === this.#numbers.length) {
      const longer = new Float64Array(2 * this.#length)
      longer.set(this.#numbers)
      this.#numbers = longer
    }
    this.#numbers[this.#length++] = what
    this.#numbers[this.#length++] = literal
  }
}

const isEquality = (operator: Operator): boolean => operator === '==' || operator === '!='
