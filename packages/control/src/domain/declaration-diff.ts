import { canonicalJson } from '@sallyport/base'
import type { DiffEntry } from './bundles.ts'

const MAX_ENTRIES = 500
const MAX_TEXT = 400

/**
 * What differs between two declarations, as paths into them. Members of lists are matched by `id` or `name` where they have
 * one, so that an entry that moved is no difference.
 */
export function declarationDiff(before: unknown, after: unknown): DiffEntry[] {
  const entries: DiffEntry[] = []
  walk('', before, after, entries)
  return entries.slice(0, MAX_ENTRIES)
}

function walk(path: string, before: unknown, after: unknown, into: DiffEntry[]): void {
  if (into.length > MAX_ENTRIES || same(before, after)) return
  const left = keyed(before)
  const right = keyed(after)
  if (!left || !right || left.list !== right.list) {
    into.push({ path, change: 'changed', before: shown(before), after: shown(after) })
    return
  }
  for (const key of new Set([...left.members.keys(), ...right.members.keys()])) {
    const at = left.list ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`
    if (!right.members.has(key)) {
      into.push({ path: at, change: 'removed', before: shown(left.members.get(key)) })
    } else if (!left.members.has(key)) {
      into.push({ path: at, change: 'added', after: shown(right.members.get(key)) })
    } else walk(at, left.members.get(key), right.members.get(key), into)
  }
}

interface Keyed {
  readonly list: boolean
  readonly members: ReadonlyMap<string, unknown>
}

function keyed(value: unknown): Keyed | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (!Array.isArray(value)) return { list: false, members: new Map(Object.entries(value)) }
  const members = new Map<string, unknown>()
  for (const [index, item] of value.entries()) {
    const key = nameOf(item) ?? (typeof item === 'string' ? item : String(index))
    // Two of one name are told apart by place.
    members.set(members.has(key) ? `${key}#${index}` : key, item)
  }
  return { list: true, members }
}

function nameOf(item: unknown): string | undefined {
  if (typeof item !== 'object' || item === null) return undefined
  // An object of unknown members; only strings are used.
  const { id, name } = item as { readonly id?: unknown; readonly name?: unknown }
  if (typeof id === 'string') return id
  return typeof name === 'string' ? name : undefined
}

function same(before: unknown, after: unknown): boolean {
  return (
    before !== undefined && after !== undefined && canonicalJson(before) === canonicalJson(after)
  )
}

function shown(value: unknown): string {
  const text = canonicalJson(value)
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text
}
