import type { ClientWire } from './client.ts'
import { readExecute } from './wire/messages.ts'

/**
 * How many rows a client asks for of a portal, where that and the end of its transaction are what it has already said next: then the
 * database can be asked for all of it at once.
 *
 * @returns undefined where it says anything else next, or nothing yet
 */
export function askedAhead(client: ClientWire, portal: string): number | undefined {
  const [execute, sync] = [client.waiting(0), client.waiting(1)]
  if (execute?.type !== 'E' || sync?.type !== 'S') return undefined
  try {
    const asked = readExecute(execute.body)
    return asked.portal === portal ? asked.most : undefined
  } catch {
    // It is refused when its turn comes.
    return undefined
  }
}
