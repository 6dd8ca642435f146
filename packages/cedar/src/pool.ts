import { Clauses } from './clauses.ts'
import type { Compiled } from './code.ts'
import type { ExprEst } from './est.ts'
import { EntityRef } from './value.ts'

/** Parts of an expression that are looked at to find its like: longer ones are rarely written twice. */
const MAX_PARTS = 48

/**
 * Entities and compiled expressions that the policies of one set share. Sets repeat themselves (`context.input.amount`, the links of
 * a template), and what is shared stays in the processor's caches.
 */
export class Pool {
  readonly clauses: Clauses = new Clauses()
  readonly #entities = new Map<string, { type: string; refs: Map<string, EntityRef> }>()
  readonly #expressions = new Map<string, Compiled>()
  readonly #variables = new Map<string, ReadonlySet<string>>()

  /** One object for all mentions of an entity, and one text for all of its type. */
  entity(type: string, id: string): EntityRef {
    let ids = this.#entities.get(type)
    if (ids === undefined) this.#entities.set(type, (ids = { type, refs: new Map() }))
    let ref = ids.refs.get(id)
    if (ref === undefined) ids.refs.set(id, (ref = new EntityRef(ids.type, id)))
    return ref
  }

  /** Which variables an expression reads. */
  variables(expr: object): ReadonlySet<string> {
    const found = variablesOf(expr, new Set())
    const key = [...found].toSorted().join(' ')
    const known = this.#variables.get(key)
    if (known === undefined) this.#variables.set(key, found)
    return known ?? found
  }

  /** The compiled form of an expression that means the same wherever it stands. */
  expression(expr: object, compile: () => Compiled): Compiled {
    const key = textOf(expr, { parts: MAX_PARTS })
    if (key === undefined) return compile()
    let compiled = this.#expressions.get(key)
    if (compiled === undefined) this.#expressions.set(key, (compiled = compile()))
    return compiled
  }
}

/** JSON, or undefined where there are more parts than are left. */
function textOf(value: unknown, left: { parts: number }): string | undefined {
  if (--left.parts < 0) return undefined
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  let text = Array.isArray(value) ? '[' : '{'
  for (const [key, member] of Object.entries(value)) {
    const inner = textOf(member, left)
    if (inner === undefined) return undefined
    text += `${JSON.stringify(key)}:${inner},`
  }
  return `${text}${Array.isArray(value) ? ']' : '}'}`
}

function variablesOf(expr: unknown, found: Set<string>): Set<string> {
  if (Array.isArray(expr)) for (const item of expr) variablesOf(item, found)
  else if (typeof expr === 'object' && expr !== null) {
    const { Var: name } = expr as ExprEst
    if (typeof name === 'string') found.add(name)
    for (const inner of Object.values(expr)) variablesOf(inner, found)
  }
  return found
}
