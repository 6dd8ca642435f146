import { useCallback, useEffect, useSyncExternalStore } from 'react'
import { get } from './client.ts'
import type { ApiError } from './client.ts'

interface Entry {
  readonly data: unknown
  readonly error: ApiError | undefined
  readonly loading: boolean
}

const EMPTY: Entry = { data: undefined, error: undefined, loading: true }
const entries = new Map<string, Entry>()
const watchers = new Map<string, Set<() => void>>()
const inFlight = new Set<string>()
const again = new Set<string>()
const due = new Map<string, ReturnType<typeof setTimeout>>()
/** Rises as sessions end: what was asked for before is nothing for who comes after. */
let visit = 0

function put(path: string, entry: Entry): void {
  entries.set(path, entry)
  for (const watcher of watchers.get(path) ?? []) watcher()
}

async function load(path: string): Promise<void> {
  if (inFlight.has(path)) {
    again.add(path)
    return
  }
  inFlight.add(path)
  const of = visit
  try {
    const data = await get<unknown>(path)
    if (of === visit) put(path, { data, error: undefined, loading: false })
  } catch (error) {
    // `get` throws nothing else. What was shown stays on the page beside the error.
    const failure = error as ApiError
    if (of === visit) put(path, { data: entries.get(path)?.data, error: failure, loading: false })
  }
  if (of !== visit) return
  inFlight.delete(path)
  if (again.delete(path)) void load(path)
}

/**
 * Reads again, soon and once, every watched path that starts so, and forgets the others. A path whose first read is
 * still under way is read again, too: its answer may be older than what makes it stale.
 */
export function invalidate(prefix: string, delayMs: number = 250): void {
  for (const path of new Set([...entries.keys(), ...inFlight])) {
    if (!path.startsWith(prefix)) continue
    if (!watchers.get(path)?.size) entries.delete(path)
    else if (!due.has(path)) {
      due.set(
        path,
        setTimeout(() => {
          due.delete(path)
          void load(path)
        }, delayMs),
      )
    }
  }
}

/** Reads nothing again that was going to be, before a sign-out. */
export function stopReading(): void {
  for (const timer of due.values()) clearTimeout(timer)
  due.clear()
  again.clear()
}

/** Forgets everything when a session has ended, also what is still on its way: nobody waits for it either. */
export function forgetResources(): void {
  stopReading()
  visit++
  inFlight.clear()
  entries.clear()
}

export interface Resource<T> {
  readonly data: T | undefined
  readonly error: ApiError | undefined
  readonly loading: boolean
  readonly reload: () => void
}

/** `GET /api/PATH`, shared between everything on the page that shows it, kept while it is read again. */
export function useResource<T>(path: string): Resource<T> {
  const subscribe = useCallback(
    (watcher: () => void) => {
      const set = watchers.get(path) ?? new Set()
      watchers.set(path, set)
      set.add(watcher)
      return () => {
        set.delete(watcher)
      }
    },
    [path],
  )
  const entry = useSyncExternalStore(subscribe, () => entries.get(path) ?? EMPTY)
  useEffect(() => {
    if (entries.has(path)) invalidate(path, 0)
    else void load(path)
  }, [path])
  const reload = useCallback(() => {
    void load(path)
  }, [path])
  // `T` is what this path answers; see client.ts.
  return { data: entry.data as T | undefined, error: entry.error, loading: entry.loading, reload }
}
