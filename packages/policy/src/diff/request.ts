import { fromTenThousandths } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { Call, SessionState } from '@sallyport/decide'
import type { InputSchema } from '@sallyport/network'
import { accepts, freeInput, inOrder, slotsFor } from './input.ts'
import type { Literals } from './literals.ts'
import type { LeftOut } from './numbers.ts'
import type { Model } from './script.ts'
import { variablesOf } from './script.ts'
import { representable, Terms } from './terms.ts'
import type { Term } from './terms.ts'
import { DAYS } from './values.ts'
import type { Guarded, Sym } from './values.ts'

/** Which requests a question is about: everything that is not free. */
export interface RequestType {
  readonly instance: string
  readonly agent: string
  readonly system: string
  readonly operation: string
  /** As the side reads it that is to allow the call. */
  readonly input: InputSchema
  /** As the other side reads it, where it has the operation. */
  readonly against?: InputSchema
  readonly literals: Literals
  /** Tags that a session can carry as labels. */
  readonly labels: readonly string[]
  readonly operators: readonly string[]
}

/** A call with the session that makes it. */
export interface Request {
  readonly call: Call
  readonly session: SessionState
}

/** An operator beyond those declared, for each that a policy may count. */
const MAX_APPROVERS = 64

/** Clocks that are put forward and back have no formula here. */
const LOCAL_TIME: Sym = { kind: 'opaque', why: '`context.time.local`' }

/** The parties of a delegation have no closed list. */
const ACTORS: Sym = { kind: 'opaque', why: '`context.onBehalfOf.actors`' }

/** Hops that a chain of mandates may have. */
const MAX_DEPTH = 5

/** Every request of a type at once: one variable for each thing that callers, time and operators choose. */
export class FreeRequest {
  readonly terms: Terms = new Terms()
  readonly type: RequestType
  readonly input: Sym
  /** Whether sets have fewer free elements than a proof would need. */
  readonly bounded: boolean
  readonly leftOut: LeftOut = new Set<string>()
  readonly #constraints: Term[] = []
  readonly #shared: readonly (readonly [string, Guarded])[]
  readonly #time: { readonly day: Term; readonly hour: Term; readonly minute: Term; second: Term }
  readonly #labels: readonly Guarded[]
  readonly #approvers: readonly Guarded[]
  readonly #risk: Term
  readonly #behalf: { readonly present: Term; readonly subject: Term }
  readonly #payment: {
    readonly present: Term
    readonly amount: Term
    readonly currency: Term
    readonly creditor: Term
    readonly by: Term
  }
  readonly #mandate: {
    readonly present: Term
    readonly id: Term
    readonly delegator: Term
    readonly depth: Term
    readonly task: Term
  }
  readonly #source: { readonly present: Term; readonly v6: Term; readonly address: Term }

  constructor(type: RequestType) {
    const t = this.terms
    this.type = type
    const { slots, bounded } = slotsFor(type.input, type.against, type.literals.openSets)
    this.bounded = bounded
    const [labels, approvers] = [this.#named('labels', type.labels), this.#approversOf(type)]
    this.input = freeInput(t, type.input, type.against, withLists(type, labels, approvers), slots)
    this.#assume(accepts(t, type.input, this.input, this.leftOut))
    for (const order of inOrder(t, this.input)) this.#assume(order)
    const [day, hour, minute, second] = [
      this.#long('day', DAYS.first, DAYS.last),
      this.#long('hour', 0, 23),
      this.#long('minute', 0, 59),
      this.#long('second', 0, 59),
    ]
    this.#time = { day, hour, minute, second }
    // Day 0 was a Thursday: three days after the Monday of week 0.
    const [weekday, week] = [this.#long('weekday', 1, 7), this.#long('week', 0, 10_000)]
    this.#assume(t.equal(t.plus(day, t.long(4)), t.plus(t.times(week, 7), weekday)))
    const seconds = t.plus(t.times(t.plus(t.times(day, 24), hour), 60), minute)
    const epoch = t.plus(t.times(seconds, 60), second)
    const text = (one: string, name: string, i: number): Guarded => ({
      present: t.variable(`${name}-${i}`, 'Bool'),
      value: { kind: 'string', term: t.string(one) },
    })
    this.#labels = labels.map((one, i) => text(one, 'label', i))
    this.#approvers = approvers.map((one, i) => text(one, 'approver', i))
    this.#risk = this.#long('risk', 0, 100)
    const v6 = t.variable('source-v6', 'Bool')
    const address = t.variable('source', 'Address')
    this.#source = { present: t.variable('source?', 'Bool'), v6, address }
    this.#assume(t.or(v6, t.masked(address, ((1n << 96n) - 1n) << 32n, 0n)))
    this.#behalf = {
      present: t.variable('on-behalf?', 'Bool'),
      subject: t.variable('on-behalf-subject', 'String'),
    }
    this.#payment = {
      present: t.variable('payment?', 'Bool'),
      amount: this.#long('payment-amount', 1, Number.MAX_SAFE_INTEGER),
      currency: t.variable('payment-currency', 'String'),
      creditor: t.variable('payment-creditor', 'String'),
      by: t.variable('payment-by', 'String'),
    }
    this.#mandate = {
      present: t.variable('mandate?', 'Bool'),
      id: t.variable('mandate-id', 'String'),
      delegator: t.variable('mandate-delegator', 'String'),
      depth: this.#long('mandate-depth', 1, MAX_DEPTH),
      task: t.variable('mandate-task', 'String'),
    }
    const there = (value: Sym): Guarded => ({ present: t.true, value })
    const long = (term: Term): Guarded => there({ kind: 'long', term })
    const string = (term: Term): Guarded => there({ kind: 'string', term })
    const record = (members: readonly (readonly [string, Guarded])[]): Guarded =>
      there({ kind: 'record', members: new Map(members) })
    const approvals = this.#approvers.reduce(
      (sum, { present }) => t.plus(sum, t.ite(present, t.long(1), t.long(0))),
      t.long(0),
    )
    this.#shared = [
      [
        'time',
        record([
          ['epoch', long(epoch)],
          ['hour', long(hour)],
          ['minute', long(minute)],
          ['weekday', long(weekday)],
          ['date', there({ kind: 'date', day })],
        ]),
      ],
      ['source', { present: this.#source.present, value: { kind: 'ip', v6, address } }],
      ['session', record([['labels', there({ kind: 'set', items: this.#labels })]])],
      ['risk', long(this.#risk)],
      [
        'evidence',
        record([
          ['approvals', long(approvals)],
          ['approvers', there({ kind: 'set', items: this.#approvers })],
        ]),
      ],
      [
        'onBehalfOf',
        {
          present: this.#behalf.present,
          value: record([
            ['subject', string(this.#behalf.subject)],
            ['actors', there(ACTORS)],
          ]).value,
        },
      ],
      [
        'payment',
        {
          present: this.#payment.present,
          value: record([
            ['amount', long(this.#payment.amount)],
            ['currency', string(this.#payment.currency)],
            ['creditor', string(this.#payment.creditor)],
            ['by', string(this.#payment.by)],
          ]).value,
        },
      ],
      [
        'mandate',
        {
          present: this.#mandate.present,
          value: record([
            ['id', string(this.#mandate.id)],
            ['delegator', string(this.#mandate.delegator)],
            ['depth', long(this.#mandate.depth)],
            ['task', string(this.#mandate.task)],
          ]).value,
        },
      ],
    ]
  }

  /** The context of the call. @param timeZone of the side that reads it */
  callContext(purpose: string, timeZone: string | undefined): Sym {
    const input: Guarded = { present: this.terms.true, value: this.input }
    return this.#context(purpose, timeZone, ['input', input])
  }

  /** The context of a field's treatment. */
  fieldContext(purpose: string, timeZone: string | undefined): Sym {
    const { system, operation } = this.type
    return this.#context(purpose, timeZone, ['operation', this.#text(`${system}.${operation}`)])
  }

  /** The claims with what is known of the variables in them; all that is known where `all`. */
  assertions(claims: readonly Term[], all = false): Term[] {
    const asserted = new Set(claims)
    const variables = variablesOf(claims)
    for (let grown = true; grown;) {
      grown = false
      for (const constraint of this.#constraints) {
        if (asserted.has(constraint)) continue
        const own = variablesOf([constraint])
        if (!all && own.isDisjointFrom(variables)) continue
        asserted.add(constraint)
        for (const variable of own) variables.add(variable)
        grown = true
      }
    }
    return [...asserted]
  }

  /** Fixes variables to the values of a model, to ask for the rest. */
  fixed(model: Model): Term[] {
    const t = this.terms
    return Array.from(variablesOf(this.#constraints)).flatMap((variable) => {
      const value = model.get(variable.op)
      if (value === undefined) return []
      if (typeof value === 'boolean') return [t.equal(variable, t.bool(value))]
      if (typeof value === 'string') return [t.equal(variable, t.string(value))]
      const long = variable.sort === 'Long'
      return [t.equal(variable, long ? t.long(BigInt.asIntN(64, value)) : t.address(value))]
    })
  }

  /** The request that a model describes; what it leaves open is as plain as can be. */
  decode(model: Model): Request {
    const { instance, agent, system, operation } = this.type
    const number = (term: Term, otherwise: number): number => {
      const value = valueOf(model, term)
      return typeof value === 'bigint' ? Number(BigInt.asIntN(64, value)) : otherwise
    }
    const { day, hour, minute, second } = this.#time
    const minutes = (number(day, DAYS.first) * 24 + number(hour, 12)) * 60 + number(minute, 0)
    const chosen = (items: readonly Guarded[]): string[] =>
      items.flatMap(({ present, value }) => {
        const there = valueOf(model, present) === true && value.kind === 'string'
        return there ? [String(value.term.value)] : []
      })
    const { present, v6, address } = this.#source
    const bits = valueOf(model, address)
    const source = sourceText(valueOf(model, v6) === true, typeof bits === 'bigint' ? bits : 0n)
    const input = inputOf(model, this.input)
    return {
      call: {
        ...{ instance, agent, system, operation },
        // The input of an operation is a record.
        input: input as Readonly<Record<string, CedarJson>>,
        time: (minutes * 60 + number(second, 0)) * 1000,
        ...(valueOf(model, present) === true ? { source } : {}),
        evidence: { approvals: chosen(this.#approvers) },
        ...this.#delegation(model, number),
      },
      session: { labels: chosen(this.#labels), risk: number(this.#risk, 0) },
    }
  }

  /** For whom, for which payment and by which mandate, where the model has them. */
  #delegation(
    model: Model,
    number: (term: Term, otherwise: number) => number,
  ): Pick<Call, 'onBehalfOf' | 'payment' | 'mandate'> {
    const text = (term: Term): string => String(valueOf(model, term) ?? '').toWellFormed()
    const { id, delegator, depth, task } = this.#mandate
    const { amount, currency, creditor, by } = this.#payment
    return {
      ...(valueOf(model, this.#behalf.present) === true
        ? { onBehalfOf: { subject: text(this.#behalf.subject), actors: [this.type.instance] } }
        : {}),
      ...(valueOf(model, this.#payment.present) === true
        ? {
            payment: {
              amount: number(amount, 1),
              currency: text(currency),
              creditor: text(creditor),
              by: text(by),
            },
          }
        : {}),
      ...(valueOf(model, this.#mandate.present) === true
        ? {
            mandate: {
              id: text(id),
              delegator: text(delegator),
              depth: number(depth, 1),
              task: text(task),
            },
          }
        : {}),
    }
  }

  #context(purpose: string, timeZone: string | undefined, own: readonly [string, Guarded]): Sym {
    const members = new Map([...this.#shared, ['purpose', this.#text(purpose)] as const, own])
    const time = members.get('time')
    if (timeZone !== undefined && time?.value.kind === 'record') {
      const local: Guarded = { present: time.present, value: LOCAL_TIME }
      const value: Sym = {
        kind: 'record',
        members: new Map([...time.value.members, ['local', local]]),
      }
      members.set('time', { present: time.present, value })
    }
    return { kind: 'record', members }
  }

  #text(text: string): Guarded {
    const term = this.terms.string(text)
    return { present: this.terms.true, value: { kind: 'string', term } }
  }

  #long(name: string, low: number, high: number): Term {
    const variable = this.terms.variable(name, 'Long')
    this.#assume(this.terms.between(variable, low, high))
    return variable
  }

  #assume(constraint: Term): void {
    // One by one, so that a question takes on only what it touches.
    this.#constraints.push(...(constraint.op === 'and' ? constraint.args : [constraint]))
  }

  #named(attribute: string, given: readonly string[]): string[] {
    const named = this.type.literals.beside.get(attribute) ?? []
    return [...new Set([...given, ...named])].filter(representable)
  }

  #approversOf({ operators, literals }: RequestType): string[] {
    const counted = [...(literals.longsBeside.get('approvals') ?? [])]
      .map(Number)
      .filter((count) => count < MAX_APPROVERS)
    const enough = Math.max(3, ...counted.map((count) => count + 1))
    const others = Array.from({ length: enough }, (_, i) => `approver-${i + 1}`)
    return this.#named('approvers', [...operators, ...others])
  }
}

/** Whose elements an input may be asked to hold as well: they are chosen from lists. */
function withLists(
  { literals }: RequestType,
  labels: readonly string[],
  approvers: readonly string[],
): Literals {
  const given = new Map<string, ReadonlySet<string | bigint>>(literals.given)
  for (const [name, texts] of [
    ['labels', labels],
    ['approvers', approvers],
  ] as const) {
    given.set(name, new Set([...(given.get(name) ?? []), ...texts]))
  }
  return { ...literals, given }
}

const valueOf = (model: Model, term: Term): boolean | bigint | string | undefined =>
  term.value ?? model.get(term.op)

function inputOf(model: Model, value: Sym): CedarJson {
  switch (value.kind) {
    case 'bool':
      return valueOf(model, value.term) === true
    case 'long': {
      const long = valueOf(model, value.term)
      return typeof long === 'bigint' ? Number(BigInt.asIntN(64, long)) : 0
    }
    case 'decimal': {
      const scaled = valueOf(model, value.term)
      return typeof scaled === 'bigint' ? fromTenThousandths(Number(BigInt.asIntN(64, scaled))) : 0
    }
    case 'string':
      return String(valueOf(model, value.term) ?? '').toWellFormed()
    case 'set':
      return value.items.flatMap((item) =>
        valueOf(model, item.present) === true ? [inputOf(model, item.value)] : [],
      )
    case 'record':
      return Object.fromEntries(
        [...value.members].flatMap(([name, member]) =>
          valueOf(model, member.present) === true ? [[name, inputOf(model, member.value)]] : [],
        ),
      )
    default:
      return ''
  }
}

function sourceText(v6: boolean, address: bigint): string {
  const [count, bits, base, between] = v6 ? [8, 16n, 16, ':'] : [4, 8n, 10, '.']
  const mask = (1n << bits) - 1n
  const parts = Array.from({ length: count }, (_, i) =>
    ((address >> (BigInt(count - 1 - i) * bits)) & mask).toString(base),
  )
  return parts.join(between)
}
