import { SallyportError } from '@sallyport/base'
import type { OnBehalfOf } from './types.ts'

/** Refuses a value by throwing; what it lets through has exactly the declared shape. */
export type Check = (value: unknown, path: string) => void

type OptionalKeys<T> = { [K in keyof T]-?: object extends Pick<T, K> ? K : never }[keyof T]
type RequiredKeys<T> = Exclude<keyof T, OptionalKeys<T>>

class ShapeMismatch extends Error {}

const refuse = (path: string, wanted: string): never => {
  throw new ShapeMismatch(`\`${path}\` must be ${wanted}`)
}

export const text =
  (maxLength = 4096, pattern?: RegExp): Check =>
  (value, path) => {
    if (typeof value !== 'string' || value.length > maxLength || !value.isWellFormed()) {
      refuse(path, `a string of at most ${maxLength} characters`)
    } else if (pattern && !pattern.test(value)) refuse(path, `a string like ${String(pattern)}`)
  }

/** A safe integer within bounds: the only numbers that travel, except scores. */
export const integer =
  (minimum = 0, maximum: number = Number.MAX_SAFE_INTEGER): Check =>
  (value, path) => {
    if (!Number.isSafeInteger(value) || Number(value) < minimum || Number(value) > maximum) {
      refuse(path, `an integer from ${minimum} to ${maximum}`)
    }
  }

export const finite =
  (minimum: number, maximum: number): Check =>
  (value, path) => {
    if (typeof value !== 'number' || !(value >= minimum && value <= maximum)) {
      refuse(path, `a number from ${minimum} to ${maximum}`)
    }
  }

export const oneOf =
  (...allowed: readonly (string | number | boolean)[]): Check =>
  (value, path) => {
    if (!allowed.some((item) => item === value)) refuse(path, `one of ${allowed.join(', ')}`)
  }

export const list =
  (item: Check, maxItems = 100_000): Check =>
  (value, path) => {
    if (!Array.isArray(value) || value.length > maxItems) {
      refuse(path, `a list of at most ${maxItems}`)
    } else value.forEach((entry: unknown, index) => item(entry, `${path}[${index}]`))
  }

export const map =
  (item: Check): Check =>
  (value, path) => {
    for (const [key, entry] of Object.entries(plain(value, path))) item(entry, `${path}.${key}`)
  }

export const either =
  (...checks: readonly Check[]): Check =>
  (value, path) => {
    const fits = checks.some((check) => {
      try {
        check(value, path)
        return true
      } catch (error) {
        if (error instanceof ShapeMismatch) return false
        throw error
      }
    })
    if (!fits) refuse(path, 'of one of the known kinds')
  }

/** Anything JSON holds: opaque on this floor. */
export const anything: Check = (value, path) => {
  if (value === undefined) refuse(path, 'present')
}

/** An object with exactly these members: unknown ones are refused. The type keeps both lists complete. */
export const members = <T>(
  required: Readonly<Record<RequiredKeys<T>, Check>>,
  optional: Readonly<Record<OptionalKeys<T>, Check>>,
): Check => {
  const must = Object.entries<Check>(required)
  const may = new Map(Object.entries<Check>(optional))
  return (value, path) => {
    const object = plain(value, path)
    for (const [key, check] of must) {
      if (!Object.hasOwn(object, key)) refuse(`${path}.${key}`, 'present')
      check(object[key], `${path}.${key}`)
    }
    for (const key of Object.keys(object)) {
      if (Object.hasOwn(required, key)) continue
      const check = may.get(key)
      if (check === undefined) refuse(`${path}.${key}`, 'absent: it is not a known member')
      else if (object[key] !== undefined) check(object[key], `${path}.${key}`)
    }
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
    check(value, '$')
  } catch (error) {
    if (error instanceof ShapeMismatch)
      throw new SallyportError(code, message, { detail: error.message })
    throw error
  }
}

function plain(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse(path, 'an object')
  }
  // A non-null, non-array object; only its own enumerable members are read.
  return value as Readonly<Record<string, unknown>>
}
