import { SallyportError } from '@sallyport/base'
import type { OnBehalfOf } from './types.ts'

/** Refuses a value by throwing; what it lets through has exactly the declared shape. */
export type Check = (value: unknown) => void

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

export const text =
  (maxLength = 4096, pattern?: RegExp): Check =>
  (value) => {
    if (typeof value !== 'string' || value.length > maxLength || !value.isWellFormed()) {
      refuse(`a string of at most ${maxLength} characters`)
    } else if (pattern && !pattern.test(value)) refuse(`a string like ${String(pattern)}`)
  }

/** A safe integer within bounds: the only numbers that travel, except scores. */
export const integer =
  (minimum = 0, maximum: number = Number.MAX_SAFE_INTEGER): Check =>
  (value) => {
    if (!Number.isSafeInteger(value) || Number(value) < minimum || Number(value) > maximum) {
      refuse(`an integer from ${minimum} to ${maximum}`)
    }
  }

export const finite =
  (minimum: number, maximum: number): Check =>
  (value) => {
    if (typeof value !== 'number' || !(value >= minimum && value <= maximum)) {
      refuse(`a number from ${minimum} to ${maximum}`)
    }
  }

export const oneOf =
  (...allowed: readonly (string | number | boolean)[]): Check =>
  (value) => {
    if (!allowed.some((item) => item === value)) refuse(`one of ${allowed.join(', ')}`)
  }

export const list =
  (item: Check, maxItems = 100_000): Check =>
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
  }

export const map =
  (item: Check): Check =>
  (value) => {
    for (const [key, entry] of Object.entries(plain(value))) {
      try {
        item(entry)
      } catch (error) {
        within(`.${key}`, error)
      }
    }
  }

export const either =
  (...checks: readonly Check[]): Check =>
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
  }

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
  return (value) => {
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

function plain(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse('an object')
  }
  // A non-null, non-array object; only its own enumerable members are read.
  return value as Readonly<Record<string, unknown>>
}
