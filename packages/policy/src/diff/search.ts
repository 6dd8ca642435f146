import { createHash } from 'node:crypto'
import { fromTenThousandths, tenThousandths } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { DecimalType, InputType } from '@sallyport/network'
import type { Literals } from './literals.ts'
import type { Request, RequestType } from './request.ts'
import { DAYS } from './values.ts'

/** Draws of an item for one list, and as many again where some of them were the same. */
const MAX_DRAWN = 16

/** Numbers that look random and are the same in every run. */
export class Chance {
  #state: number

  constructor(seed: string) {
    this.#state = createHash('sha256').update(seed).digest().readUInt32LE()
  }

  /** From 0 up to `below`. */
  next(below: number): number {
    // mulberry32: nothing here is secret.
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }

  of<T>(items: readonly T[], otherwise: T): T {
    return items[this.next(items.length)] ?? otherwise
  }

  some<T>(items: readonly T[]): T[] {
    const keep = this.next(4)
    return items.filter(() => this.next(4) < keep)
  }
}

/** A request of a type, mostly at the values where policies change their answer. */
export function randomRequest(type: RequestType, chance: Chance): Request {
  const { instance, agent, system, operation, literals, labels, operators } = type
  const named = (attribute: string): readonly string[] => [
    ...(literals.beside.get(attribute) ?? []),
  ]
  const input = randomInput(type.input, literals, chance)
  const dates = [...literals.strings].filter((text) => /^20\d\d-\d\d-\d\d$/.test(text))
  const days = dates.map((text) => Date.parse(text) / 86_400_000).filter(Number.isInteger)
  const anyDay = DAYS.first + chance.next(DAYS.last - DAYS.first + 1)
  const day = chance.next(2) === 0 ? chance.of(days, anyDay) : anyDay
  const hours = around(literals, 'hour').filter((hour) => hour >= 0 && hour < 24)
  const hour = chance.next(2) === 0 ? chance.of(hours, 12) : chance.next(24)
  const seconds = (day * 24 + hour) * 3600 + chance.next(3600)
  const epoch = chance.of(around(literals, 'epoch'), seconds)
  const time = chance.next(3) === 0 && epoch > 0 ? epoch * 1000 : seconds * 1000
  const risks = [0, 100, chance.next(101), ...around(literals, 'risk')]
  const addresses = [...literals.addresses].map((text) => text.replace(/\/.*$/, ''))
  const source = chance.of([...addresses, '10.0.0.1', '127.0.0.1', '2001:db8::1'], '10.0.0.1')
  return {
    call: {
      ...{ instance, agent, system, operation, time },
      // The input of an operation is a record.
      input: input as Request['call']['input'],
      ...(chance.next(2) === 0 ? { source } : {}),
      evidence: {
        approvals: chance.some([
          ...new Set([
            ...operators,
            ...named('approvers'),
            'approver-1',
            'approver-2',
            'approver-3',
          ]),
        ]),
      },
      ...(chance.next(3) === 0
        ? {
            onBehalfOf: {
              subject: chance.of(named('subject'), 'operator:somebody'),
              actors: [instance, ...chance.some(named('actors'))],
            },
          }
        : {}),
      ...(chance.next(3) === 0
        ? {
            payment: {
              amount: Math.max(1, chance.of(around(literals, 'amount'), 100)),
              currency: chance.of(named('currency'), 'EUR'),
              creditor: chance.of(named('creditor'), 'somebody'),
              by: chance.of(named('by'), 'operator:somebody'),
            },
          }
        : {}),
      ...(chance.next(3) === 0
        ? {
            mandate: {
              id: chance.of(named('id'), 'mdt_1'),
              delegator: chance.of(named('delegator'), 'operator:somebody'),
              depth: 1 + chance.next(5),
              task: chance.of(named('task'), 'a task'),
            },
          }
        : {}),
    },
    session: {
      labels: chance.some([...new Set([...labels, ...named('labels')])]),
      risk: Math.min(100, Math.max(0, chance.of(risks, 0))),
    },
  }
}

/** The numbers that an attribute is compared with, and their neighbours. */
function around({ longsBeside }: Literals, attribute: string): number[] {
  return [...(longsBeside.get(attribute) ?? [])].flatMap((long) =>
    [-1, 0, 1].map((step) => Number(long) + step),
  )
}

function randomInput(type: InputType, literals: Literals, chance: Chance): CedarJson {
  switch (type.type) {
    case 'boolean':
      return chance.next(2) === 0
    case 'long': {
      const known = [...literals.longs].flatMap((long) => [-1, 0, 1].map((s) => Number(long) + s))
      const { minimum, maximum } = type
      const inside = [minimum, maximum, 0, 1, ...known].filter((n) => n >= minimum && n <= maximum)
      return chance.of(inside, minimum)
    }
    case 'decimal':
      return randomDecimal(type, literals, chance)
    case 'string':
      return randomText(type, literals, chance)
    case 'set':
      return randomSet(type, literals, chance)
    case 'record': {
      const { members } = chance.of(type.variants?.of ?? [], type)
      return Object.fromEntries(
        Object.entries(members)
          .filter(([, { required }]) => required || chance.next(2) === 0)
          .map(([name, { schema }]) => [name, randomInput(schema, literals, chance)]),
      )
    }
  }
}

function randomDecimal(
  { minimum, maximum, step }: DecimalType,
  { strings }: Literals,
  chance: Chance,
): number {
  const unit = tenThousandths(step ?? 0) || 1
  const known = [...strings].flatMap((text) => {
    const scaled = /^-?\d{1,11}\.\d{1,4}$/.test(text) ? tenThousandths(Number(text)) : undefined
    return scaled === undefined ? [] : [-unit, 0, unit].map((more) => scaled + more)
  })
  const [least, most] = [tenThousandths(minimum) ?? 0, tenThousandths(maximum) ?? 0]
  const inside = [least, most, 0, unit, ...known].filter((n) => n >= least && n <= most)
  return fromTenThousandths(chance.of(inside, least))
}

function randomSet(
  { items, minItems = 0, maxItems }: Extract<InputType, { type: 'set' }>,
  literals: Literals,
  chance: Chance,
): CedarJson[] {
  const most = Math.min(minItems + chance.next(4), maxItems)
  const distinct = new Map<string, CedarJson>()
  const draw = (): void => {
    const item = randomInput(items, literals, chance)
    distinct.set(JSON.stringify(item), item)
  }
  for (let i = 0; i < Math.min(most, MAX_DRAWN); i++) draw()
  // Some were the same. Where there are no others, or too many are wanted, the list stays short and is refused.
  for (let i = 0; i < MAX_DRAWN && distinct.size < minItems; i++) draw()
  return [...distinct.values()]
}

function randomText(
  { enum: values, pattern, maxLength }: Extract<InputType, { type: 'string' }>,
  literals: Literals,
  chance: Chance,
): string {
  if (values !== undefined) return chance.of(values, '')
  const regexp = new RegExp(pattern ?? '', 'u')
  const plain = ['', 'a', 'A', '1', 'AB', 'a1', 'AAA', 'case-1', 'ACC-1', '2026-07-01', 'x y']
  const fitting = [...literals.strings, ...plain].filter(
    (text) => Array.from(text).length <= maxLength && regexp.test(text),
  )
  return chance.of(fitting, 'a')
}
