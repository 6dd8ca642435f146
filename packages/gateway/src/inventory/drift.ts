import type { Clock } from '@sallyport/base'
import type { Projected } from '@sallyport/decide'
import type { RefusedFacts } from '@sallyport/transport'
import type { EventRecord } from '@sallyport/wire'
import type { Strange } from '../refusal.ts'
import { plain } from './plain.ts'

export interface DriftOptions {
  readonly clock: Clock
  readonly reportMs: number
  /** Records an event of the gateway's own: it travels to the control plane with the log. */
  readonly onEvent: (event: string, facts: Pick<EventRecord, 'facts'>) => void
}

/** What a report holds: of all that ask, and of one of them. */
const MAX_ENTRIES = 128
const MAX_OF_ONE = 16
const MAX_NAME = 256
/** Stands for whatever came after the bound was reached. */
const OTHERS = '*'

interface Entry extends Required<Strange> {
  readonly by: string
  readonly first: number
  last: number
  calls: number
}

/** Reasons of `SP_PEER_REFUSED` that mean: this caller is not declared. */
const UNDECLARED = new Set(['the agent is not declared', 'SP_NOT_AN_AGENT', 'SP_FOREIGN_AGENT'])
/** Handshakes of whoever has no identity here. */
const STRANGERS = new Set([
  'SP_PEER_ANONYMOUS',
  'SP_SVID_UNTRUSTED',
  'SP_TLS_HANDSHAKE',
  'SP_TLS_ALPN',
])

/**
 * What is asked for and declared nowhere, counted by kind, name and who asked, for the inventory. Every few seconds the counts
 * go into the log as events, and with it to the control plane. Bounded: whoever invents names fills a row of their own.
 */
export class Drift {
  readonly #options: DriftOptions
  readonly #timer: NodeJS.Timeout
  #entries = new Map<string, Entry>()
  #ofOne = new Map<string, number>()

  constructor(options: DriftOptions) {
    this.#options = options
    this.#timer = setInterval(() => {
      this.report()
    }, options.reportMs)
    this.#timer.unref()
  }

  /** @param by name of the agent that asked, or the address that it came from */
  saw({ kind, system = '', name }: Strange, by: string): void {
    const own = this.#ofOne.get(by) ?? 0
    if (this.#count({ kind, system, name: name.slice(0, MAX_NAME) }, by, own < MAX_OF_ONE)) return
    if (this.#count({ kind, system, name: OTHERS }, by, own <= MAX_OF_ONE)) return
    this.#count({ kind, system: '', name: OTHERS }, OTHERS, 'always')
  }

  /** Members of an answer that no schema declares. */
  fields(
    { system, operation }: { readonly system: string; readonly operation: string },
    strangers: Projected['strangers'],
    by: string,
  ): void {
    for (const [at, name] of strangers) {
      const place = at.startsWith('$') ? `${operation} ${at}` : at
      this.saw({ kind: 'field', system, name: `${place}.${plain.field(name)}` }, by)
    }
  }

  /** A handshake that was refused because nobody declared whoever came. */
  refused({ code, reason, spiffeId }: RefusedFacts): void {
    if (code === 'SP_PEER_REFUSED' && spiffeId !== undefined && UNDECLARED.has(reason)) {
      const name = withoutInstance(spiffeId)
      this.saw({ kind: 'caller', system: '', name }, name)
    } else if (STRANGERS.has(code)) {
      // By no address: whoever has no identity could come from as many as it takes to fill every row.
      this.saw({ kind: 'caller', system: '', name: code }, OTHERS)
    }
  }

  /** Records what was counted since the last time. */
  report(): void {
    const entries = this.#entries.values()
    this.#entries = new Map()
    this.#ofOne = new Map()
    for (const { kind, system, name, by, calls, first, last } of entries) {
      const facts = { kind, system, name: name.toWellFormed(), by, calls, first, last }
      this.#options.onEvent('drift-seen', { facts })
    }
  }

  close(): void {
    clearInterval(this.#timer)
    this.report()
  }

  /** @returns whether it was counted under this name */
  #count({ kind, system, name }: Required<Strange>, by: string, room: boolean | 'always'): boolean {
    const key = JSON.stringify([kind, system, name, by])
    const now = this.#options.clock.now()
    const entry = this.#entries.get(key)
    if (entry) {
      entry.calls++
      entry.last = now
      return true
    }
    if (room !== 'always' && (!room || this.#entries.size >= MAX_ENTRIES)) return false
    this.#ofOne.set(by, (this.#ofOne.get(by) ?? 0) + 1)
    this.#entries.set(key, { kind, system, name, by, calls: 1, first: now, last: now })
    return true
  }
}

/** Instances come and go: `spiffe://TD/agent/NAME/INSTANCE` is asked for by its agent. */
function withoutInstance(spiffeId: string): string {
  return spiffeId.replace(/^(spiffe:\/\/[^/]+\/agent\/[^/]+)\/.*$/, '$1')
}
