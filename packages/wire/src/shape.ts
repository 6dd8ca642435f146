import { canonicalJson, canonicalString, SallyportError, sortedNames } from '@sallyport/base'
import type { OnBehalfOf } from './types.ts'

/** Refuses a value by throwing; what it lets through has exactly the declared shape. */
export interface Check {
  (value: unknown): void
  readonly write?: Write
}

/**
 * Checks a value and writes its canonical JSON in one walk.
 *
 * @returns what `canonicalJson` makes of it; undefined where the value does not fit, or may not: the check says which
 */
type Write = (value: unknown) => string | undefined

type OptionalKeys<T> = { [K in keyof T]-?: object extends Pick<T, K> ? K : never }[keyof T]
type RequiredKeys<T> = Exclude<keyof T, OptionalKeys<T>>

/** Where a value is wrong is told from the inside out: what fits, as nearly everything does, asks for no names. */
class ShapeMismatch extends Error {
  path = ''
  readonly wanted: string

  constructor(wanted: string) {
    super('a value has not the declared shape')
    this.wanted = wanted
  }
}

const refuse = (wanted: string): never => {
  throw new ShapeMismatch(wanted)
}

/** Throws a refusal on, with where in its parent the value stands. */
export function within(part: string, error: unknown): never {
  if (error instanceof ShapeMismatch) error.path = `${part}${error.path}`
  throw error
}

const shape = (check: (value: unknown) => void, write: Write): Check =>
  Object.assign(check, { write })

export const text = (maxLength = 4096, pattern?: RegExp): Check =>
  shape(
    (value) => {
      if (typeof value !== 'string' || value.length > maxLength || !value.isWellFormed()) {
        refuse(`a string of at most ${maxLength} characters`)
      } else if (pattern && !pattern.test(value)) refuse(`a string like ${String(pattern)}`)
    },
    (value) =>
      typeof value !== 'string' ||
      value.length > maxLength ||
      !value.isWellFormed() ||
      pattern?.test(value) === false
        ? undefined
        : canonicalString(value),
  )

/** A safe integer within bounds: the only numbers that travel, except scores. */
export const integer = (minimum = 0, maximum: number = Number.MAX_SAFE_INTEGER): Check =>
  shape(
    (value) => {
      if (!Number.isSafeInteger(value) || Number(value) < minimum || Number(value) > maximum) {
        refuse(`an integer from ${minimum} to ${maximum}`)
      }
    },
    (value) =>
      typeof value === 'number' &&
      Number.isSafeInteger(value) &&
      value >= minimum &&
      value <= maximum
        ? String(value)
        : undefined,
  )

export const finite = (minimum: number, maximum: number): Check =>
  shape(
    (value) => {
      if (typeof value !== 'number' || !(value >= minimum && value <= maximum)) {
        refuse(`a number from ${minimum} to ${maximum}`)
      }
    },
    // Of infinite bounds, too, nothing is written that JSON cannot hold.
    (value) =>
      typeof value === 'number' && value >= minimum && value <= maximum && Number.isFinite(value)
        ? String(value)
        : undefined,
  )

export const oneOf = (...allowed: readonly (string | number | boolean)[]): Check => {
  const texts = allowed.map((item) => canonicalJson(item))
  return shape(
    (value) => {
      if (!allowed.some((item) => item === value)) refuse(`one of ${allowed.join(', ')}`)
    },
    (value) => {
      for (let i = 0; i < allowed.length; i++) if (allowed[i] === value) return texts[i]
      return undefined
    },
  )
}

export const list = (item: Check, maxItems = 100_000): Check =>
  shape(
    (value) => {
      if (!Array.isArray(value) || value.length > maxItems) {
        refuse(`a list of at most ${maxItems}`)
      } else {
        const entries: readonly unknown[] = value
        for (let i = 0; i < entries.length; i++) {
          try {
            item(entries[i])
          } catch (error) {
            within(`[${i}]`, error)
          }
        }
      }
    },
    (value) => {
      if (!Array.isArray(value) || value.length > maxItems) return undefined
      const entries: readonly unknown[] = value
      let written = '['
      for (let i = 0; i < entries.length; i++) {
        const entry = item.write?.(entries[i])
        if (entry === undefined) return undefined
        written += i === 0 ? entry : `,${entry}`
      }
      return `${written}]`
    },
  )

export const map = (item: Check): Check =>
  shape(
    (value) => {
      for (const [key, entry] of Object.entries(plain(value))) {
        try {
          item(entry)
        } catch (error) {
          within(`.${key}`, error)
        }
      }
    },
    (value) => {
      if (!isPlain(value)) return undefined
      let written = ''
      for (const key of sortedNames(Object.keys(value))) {
        const entry = item.write?.(value[key])
        if (entry === undefined || !key.isWellFormed()) return undefined
        written += `${written === '' ? '' : ','}${canonicalString(key)}:${entry}`
      }
      return `{${written}}`
    },
  )

export const either = (...checks: readonly Check[]): Check =>
  shape(
    (value) => {
      const fits = checks.some((check) => {
        try {
          check(value)
          return true
        } catch (error) {
          if (error instanceof ShapeMismatch) return false
          throw error
        }
      })
      if (!fits) refuse('of one of the known kinds')
    },
    (value) => {
      for (const check of checks) {
        const written = check.write?.(value)
        if (written !== undefined) return written
      }
      return undefined
    },
  )

/** Anything JSON holds: opaque on this floor. */
export const anything: Check = (value) => {
  if (value === undefined) refuse('present')
}

/** An object with exactly these members: unknown ones are refused. The type keeps both lists complete. */
export const members = <T>(
  required: Readonly<Record<RequiredKeys<T>, Check>>,
  optional: Readonly<Record<OptionalKeys<T>, Check>>,
): Check => {
  const must = Object.keys(required)
  const known = new Map([...Object.entries<Check>(required), ...Object.entries<Check>(optional)])
  const check = (value: unknown): void => {
    const object = plain(value)
    let missing = must.length
    for (const key of Object.keys(object)) {
      const check = known.get(key)
      const isRequired = Object.hasOwn(required, key)
      if (isRequired) missing--
      try {
        if (check === undefined) refuse('absent: it is not a known member')
        else if (isRequired || object[key] !== undefined) check(object[key])
      } catch (error) {
        within(`.${key}`, error)
      }
    }
    if (missing === 0) return
    const absent = new ShapeMismatch('present')
    absent.path = `.${must.find((one) => !Object.hasOwn(object, one)) ?? ''}`
    throw absent
  }
  return shape(check, writer(known, required))
}

/** A member that an object may have, and how it was written the last time: most say the same in one record after another. */
interface Member {
  readonly name: string
  /** A comma, the name as JSON has it, and a colon. */
  readonly head: string
  readonly isRequired: boolean
  readonly check: Check
  last: unknown
  /** `last` behind its name. */
  text: string
}

function writer(known: ReadonlyMap<string, Check>, required: object): Write {
  const ordered = [...known].map(([name, check]): Member => ({
    name,
    head: `,${canonicalString(name)}:`,
    isRequired: Object.hasOwn(required, name),
    check,
    last: undefined,
    text: '',
  }))
  ordered.sort((a, b) => (a.name < b.name ? -1 : 1))
  return (value) => {
    if (!isPlain(value)) return undefined
    const names = Object.keys(value)
    return writeOrdered(ordered, value, names) ?? writeOrdered(ordered, value, sortedNames(names))
  }
}

/** Undefined where a name is unknown, missing, or not in its place: both go by the order of the names. */
function writeOrdered(
  ordered: readonly Member[],
  object: Readonly<Record<string, unknown>>,
  names: readonly string[],
): string | undefined {
  let written = ''
  let at = 0
  for (const member of ordered) {
    const isThere = names[at] === member.name
    if (isThere) at++
    const value = isThere ? object[member.name] : undefined
    if (value === undefined) {
      if (member.isRequired) return undefined
      continue
    }
    let { text } = member
    if (value !== member.last) {
      const part = member.check.write?.(value)
      if (part === undefined) return undefined
      text = member.head + part
      // What an object holds may change, a string or a number is what it was.
      if (typeof value !== 'object') {
        member.last = value
        member.text = text
      }
    }
    written += written === '' ? `{${text.slice(1)}` : text
  }
  if (at !== names.length) return undefined
  return written === '' ? '{}' : `${written}}`
}

/** Shared by records and call tokens. */
export const onBehalfOfShape: Check = members<OnBehalfOf>(
  { subject: text(2048), actors: list(text(2048), 8) },
  {},
)

/** Runs `check`; a mismatch becomes a `SallyportError` with `code` whose detail names the place. */
export function demand(check: Check, value: unknown, code: string, message: string): void {
  try {
    check(value)
  } catch (error) {
    if (!(error instanceof ShapeMismatch)) throw error
    const detail = `\`$${error.path}\` must be ${error.wanted}`
    throw new SallyportError(code, message, { detail })
  }
}

/** A non-null, non-array object: only its own enumerable members are read. */
const isPlain = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function plain(value: unknown): Readonly<Record<string, unknown>> {
  return isPlain(value) ? value : refuse('an object')
}
