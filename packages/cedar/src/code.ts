import type { Env } from './operators.ts'
import type { Read } from './path.ts'
import { typeError } from './value.ts'
import type { Scalar, Value } from './value.ts'

export type Code = (env: Env) => Value
export type BoolCode = (env: Env) => boolean

/** A compiled expression. */
export interface Compiled {
  readonly run: Code
  /** Present where the expression can only give a bool. */
  readonly bool?: BoolCode
  /** Present where the value does not depend on the request. */
  readonly constant?: Value
  /** Present where it is nothing but a variable's attribute. */
  readonly read?: Read
  /** Present where it compares such an attribute with a literal. */
  readonly comparison?: Comparison
}

export type Operator = '==' | '!=' | '<' | '<=' | '>' | '>='

/** `VARIABLE.a.b < LITERAL`; what is ordered is compared with a number. */
export interface Comparison {
  readonly operator: Operator
  readonly read: Read
  readonly literal: Scalar
}

/** A bool-typed expression: one closure serves both uses. */
export const boolean = (bool: BoolCode): Compiled => ({ run: bool, bool })

export function asBool({ run, bool }: Compiled): BoolCode {
  if (bool) return bool
  return (env) => {
    const value = run(env)
    if (typeof value !== 'boolean') throw typeError('bool', value)
    return value
  }
}

/** `a && b && …`, as one closure where there are few: each closure between costs a call. */
export function allOf(codes: readonly BoolCode[]): BoolCode {
  const [a, b, c, d] = codes
  if (a === undefined) return () => true
  if (b === undefined) return a
  if (c === undefined) return (env) => a(env) && b(env)
  if (d === undefined) return (env) => a(env) && b(env) && c(env)
  if (codes.length === 4) return (env) => a(env) && b(env) && c(env) && d(env)
  return (env) => {
    for (const code of codes) if (!code(env)) return false
    return true
  }
}
