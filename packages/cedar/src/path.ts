import type { Code } from './code.ts'
import { attribute, missing, noEntity } from './operators.ts'
import type { Env } from './operators.ts'
import type { EntityRecord } from './entities.ts'
import { RecordValue } from './value.ts'
import type { EntityRef, Value } from './value.ts'

/** `VARIABLE.a.b.c` as one closure: reads of attributes are most of what policies do. */
export function pathOf(root: string, names: readonly string[]): Code | undefined {
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
