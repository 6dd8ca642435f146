import { isObject } from './input-type.ts'
import { Halt } from './problem.ts'

const MAX_REF_HOPS = 8

type Part = Readonly<Record<string, unknown>>
export type Resolve = (ref: string) => unknown

/** A part of a description, where its references lead to. @throws Halt `SP_NETWORK_OPENAPI` */
export function follow(given: unknown, resolve: Resolve): Part {
  let value = given
  for (let hops = 0; hops < MAX_REF_HOPS; hops++) {
    if (!isObject(value)) throw refuse('a part of the operation is not an object', 'correct it')
    const ref = value['$ref']
    if (ref === undefined) return value
    value = resolve(asString(ref))
  }
  throw refuse('a `$ref` goes in circles', 'point it at a definition')
}

export function asString(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

export function refuse(message: string, fix: string): Halt {
  return new Halt(
    'SP_NETWORK_OPENAPI',
    message,
    'the gateway forwards only requests that the description determines completely',
    fix,
  )
}
