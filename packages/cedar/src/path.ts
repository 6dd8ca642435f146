import type { Code } from './code.ts'
import { attribute, missing, noEntity } from './operators.ts'
import type { Env } from './operators.ts'
import type { EntityRecord } from './entities.ts'
import { RecordValue } from './value.ts'
import type { EntityRef, Value } from './value.ts'

/** `VARIABLE.a.b.c`. */
export interface Read {
  readonly root: 'context' | 'principal' | 'resource'
  readonly names: readonly string[]
  readonly run: Code
}

/** Undefined where the variable has no attributes of its own. */
export function readOf(root: string, names: readonly string[]): Read | undefined {
  const run = pathOf(root, names)
  const known = root === 'context' || root === 'principal' || root === 'resource'
  return run === undefined || !known ? undefined : { root, names, run }
}

/** What is read where it needs no entity but the variable's own; otherwise, and where it fails, undefined. */
export function readOwn({ root, names }: Read, env: Env): Value | undefined {
  let fields: ReadonlyMap<string, Value> | undefined =
    root === 'context'
      ? env.context.fields
      : (root === 'principal' ? env.principalRecord : env.resourceRecord)?.attrs
  let value: Value | undefined
  for (const name of names) {
    value = fields?.get(name)
    fields = value instanceof RecordValue ? value.fields : undefined
  }
  return value
}

/** As one closure: reads of attributes are most of what policies do. */
function pathOf(root: string, names: readonly string[]): Code | undefined {
  const [first, second, ...more] = names
  if (first === undefined) return undefined
  const start = startOf(root, first)
  if (start === undefined || second === undefined) return start
  // The commonest path of all, `context.a.b`, pays for no call.
  const head = root === 'context' ? contextPath(first, second) : step(start, second)
  return more.reduce(step, head)
}

function startOf(root: string, name: string): Code | undefined {
  switch (root) {
    case 'context':
      return (env) => env.context.fields.get(name) ?? lacks(name)
    case 'principal':
      return (env) =>
        env.principalRecord?.attrs.get(name) ?? absent(env.principalRecord, env.principal, name)
    case 'resource':
      return (env) =>
        env.resourceRecord?.attrs.get(name) ?? absent(env.resourceRecord, env.resource, name)
    default:
      return undefined
  }
}

function step(inner: Code, name: string): Code {
  return (env) => {
    const value = inner(env)
    if (value instanceof RecordValue) return value.fields.get(name) ?? lacks(name)
    return attribute(env, value, name)
  }
}

function contextPath(first: string, second: string): Code {
  return (env: Env): Value => {
    const value = env.context.fields.get(first) ?? lacks(first)
    if (value instanceof RecordValue) return value.fields.get(second) ?? lacks(second)
    return attribute(env, value, second)
  }
}

function lacks(name: string): never {
  throw missing('record', name)
}

function absent(record: EntityRecord | undefined, entity: EntityRef, name: string): never {
  throw record === undefined ? noEntity(entity) : missing(`entity of type \`${entity.type}\``, name)
}
