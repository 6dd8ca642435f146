import { hkdfSync } from 'node:crypto'
import { createVault } from '@sallyport/redact'
import type { Vault } from '@sallyport/redact'

const MAX_VAULTS = 4096
/** Of all sessions together, about: those that asked longest ago go first, for what a call needs it brings. */
const MAX_BYTES = 256 << 20

interface Entry {
  readonly vault: Vault
  /** What it took when it was looked at last. */
  bytes: number
  calls: number
}

/** What stands in for values, session by session. */
export class Vaults {
  readonly #key: Uint8Array
  readonly #maxBytes: number
  /** The one used last comes last. */
  readonly #vaults = new Map<string, Entry>()
  #bytes = 0

  /** @param key 32 secret bytes, from which each session's own are derived */
  constructor(key: Uint8Array, maxBytes: number = MAX_BYTES) {
    this.#key = key
    this.#maxBytes = maxBytes
  }

  /** How many there are. */
  get size(): number {
    return this.#vaults.size
  }

  /** The vault of a session, for one call: until that is over, nothing that it uses is forgotten. */
  open(session: string): { readonly vault: Vault; readonly close: () => void } {
    const entry = this.#vaults.get(session) ?? this.#make(session)
    this.#vaults.delete(session)
    this.#vaults.set(session, entry)
    entry.calls++
    const release = entry.vault.hold()
    return {
      vault: entry.vault,
      close: () => {
        release()
        entry.calls--
        this.#bytes += entry.vault.bytes - entry.bytes
        entry.bytes = entry.vault.bytes
        this.#trim()
      },
    }
  }

  #make(session: string): Entry {
    const key = hkdfSync('sha256', this.#key, '', `sallyport/llm/1/${session}`, 32)
    return { vault: createVault(new Uint8Array(key)), bytes: 0, calls: 0 }
  }

  #trim(): void {
    for (const [session, { bytes, calls }] of this.#vaults) {
      if (this.#vaults.size <= MAX_VAULTS && this.#bytes <= this.#maxBytes) return
      if (calls > 0) continue
      this.#vaults.delete(session)
      this.#bytes -= bytes
    }
  }
}
