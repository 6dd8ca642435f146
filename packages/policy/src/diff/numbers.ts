import { sha256Hex, tenThousandths } from '@sallyport/base'
import type { DecimalType, InputType } from '@sallyport/network'
import type { Term, Terms } from './terms.ts'
import type { Sym } from './values.ts'

/** What was left out, in words: patterns that have no regular language, lists that are too long. */
export type LeftOut = Set<string>

type Decimal = Extract<Sym, { kind: 'decimal' | 'datetime' | 'duration' }>

/** A whole number for one side and a decimal for the other: `1` is both, and no policy of one compares as those of the other do. */
export const readInTwoWays = (path: string): Sym => ({
  kind: 'opaque',
  why: `\`${path}\`, which is an \`integer\` here and a \`number\` there`,
})

/** What is the case for one and the same type of one and the same input, whatever it is. */
export function unread(t: Terms, type: InputType, why: string, leftOut: LeftOut): Term {
  leftOut.add(why)
  return t.variable(`unread-${sha256Hex(JSON.stringify([type, why])).slice(0, 32)}`, 'Bool')
}

/** In ten-thousandths. @param against as the other side reads it */
export function freeDecimal(
  t: Terms,
  { step }: DecimalType,
  against: InputType | undefined,
  path: string,
): Decimal {
  const term = t.variable(path, 'Long')
  const unit = scaled(step ?? (against?.type === 'decimal' ? against.step : undefined) ?? 0)
  if (unit <= 1) return { kind: 'decimal', term }
  const [times, rest] = [t.variable(`${path}-times`, 'Long'), t.variable(`${path}-rest`, 'Long')]
  return { kind: 'decimal', term, divided: { by: unit, times, rest } }
}

/** What a decimal is divided into: said of all, so that it may stand in a claim and in what denies it. */
export function divided(t: Terms, { term, divided: parts }: Decimal): Term[] {
  if (!parts) return []
  const { by, times, rest } = parts
  // Far beyond any input, and far from where 64 bits would overflow.
  const most = Math.ceil(1e15 / by) + 1
  return [
    t.equal(term, t.plus(t.times(times, by), rest)),
    t.between(rest, 0, by - 1),
    t.between(times, -most, most),
  ]
}

export function acceptsDecimal(
  t: Terms,
  type: DecimalType,
  value: Decimal,
  leftOut: LeftOut,
): Term {
  const within = t.between(value.term, scaled(type.minimum), scaled(type.maximum))
  const unit = type.step === undefined ? 1 : scaled(type.step)
  if (unit === 1) return within
  if (unit === value.divided?.by) return t.and(within, t.equal(value.divided.rest, t.long(0)))
  const { op } = value.term
  return t.and(within, unread(t, type, `\`multipleOf: ${type.step}\` of \`${op}\``, leftOut))
}

const scaled = (value: number): number => tenThousandths(value) ?? 0
