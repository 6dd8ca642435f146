import { useSyncExternalStore } from 'react'
import type { SessionInfo } from './types.ts'

type State =
  | { readonly phase: 'loading' }
  | { readonly phase: 'unreachable' }
  | { readonly phase: 'ready'; readonly session: SessionInfo }

let state: State = { phase: 'loading' }
const listeners = new Set<() => void>()

function set(next: State): void {
  state = next
  for (const listener of listeners) listener()
}

/** The session as last read, for the CSRF header. */
export function sessionNow(): SessionInfo | undefined {
  return state.phase === 'ready' ? state.session : undefined
}

/** Reads who is signed in. */
export async function loadSession(): Promise<void> {
  try {
    const response = await fetch('/api/session', { credentials: 'same-origin' })
    if (!response.ok) throw new Error(String(response.status))
    // Server and client are one version; see client.ts.
    set({ phase: 'ready', session: (await response.json()) as SessionInfo })
  } catch {
    // A signed-in page keeps working from what it has; the connection state in the header says the rest.
    if (state.phase !== 'ready') set({ phase: 'unreachable' })
  }
}

/** The server no longer knows the session: back to the sign-in page, which reads a fresh one. */
export function clearOperator(): void {
  if (state.phase === 'ready' && state.session.operator !== null) {
    set({ phase: 'ready', session: { ...state.session, operator: null } })
    void loadSession()
  }
}

export function useSessionState(): State {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => state,
  )
}

/** The signed-in session; only under the signed-in part of the tree. */
export function useSession(): SessionInfo {
  const now = useSessionState()
  if (now.phase !== 'ready') throw new Error('useSession outside the signed-in tree')
  return now.session
}
