import type { CompiledPolicy } from './policy.ts'
import type { CedarDecision } from './types.ts'

/** The policies whose scope admits a request: which of them hold is not known here. */
export class Slice {
  // Where there is one policy, what a decision reads of it is here too: each object on the way to it is a read of cold memory.
  readonly from: number
  readonly to: number
  /** The answer where `only` holds. */
  readonly held: CedarDecision | undefined
  /** Its one policy, which then stands in no list. */
  readonly only: CompiledPolicy | undefined
  readonly policies: readonly CompiledPolicy[] | undefined

  constructor(policies: readonly CompiledPolicy[]) {
    const [only] = policies
    const one = policies.length === 1 ? only : undefined
    this.from = one?.from ?? 0
    this.to = one?.to ?? 0
    this.held = one?.held
    this.only = one
    this.policies = one === undefined ? policies : undefined
  }
}

/** Places that one hash leads to. */
const WAYS = 4
const FIRST_SETS = 64
/** A longer slice takes longer to evaluate than to find again, and would make the memory bound a large one. */
const MAX_SLICE = 256

/** What is remembered, with what it is found by: read together, so one object. */
interface Entry {
  readonly principal: number
  readonly action: number
  readonly resource: number
  readonly slice: Slice
  /** Whether it was used since the clock's hand last passed it. */
  used: boolean
}

/**
 * Remembers slices, never decisions, by what a slice depends on: one number each for principal, action and resource
 * that stands for the entity with all its ancestors (`PolicyIndex.key`). An entity that changes gets another number,
 * so what is remembered cannot become wrong, only unused.
 *
 * Set-associative with a clock in each set: memory is bounded by `capacity`, whatever is asked.
 */
export class SliceMemo {
  /** Whether anything can be remembered at all. */
  readonly on: boolean
  readonly #capacity: number
  #entries: (Entry | undefined)[] = []
  #hands = new Uint8Array(0)
  #mask = -1

  /** @param capacity entries at most, rounded down to a power of two; below 4 nothing is remembered */
  constructor(capacity: number) {
    this.#capacity = capacity
    this.on = capacity >= WAYS
  }

  get(principal: number, action: number, resource: number): Slice | undefined {
    if (this.#mask < 0) return undefined
    const first = (hash(principal, action, resource) & this.#mask) * WAYS
    for (let at = first; at < first + WAYS; at++) {
      const entry = this.#entries[at]
      // The places of a set are filled in order, and never emptied.
      if (entry === undefined) return undefined
      if (entry.principal === principal && entry.action === action && entry.resource === resource) {
        if (!entry.used) entry.used = true
        return entry.slice
      }
    }
    return undefined
  }

  /** Keeps a slice that `get` did not find. The slice must not change from here on. */
  put(principal: number, action: number, resource: number, slice: Slice): void {
    if (slice.policies !== undefined && slice.policies.length > MAX_SLICE) return
    if (this.#mask < 0 && !this.#grow()) return
    const set = hash(principal, action, resource)
    let at = this.#free(set)
    if (at === undefined && this.#grow()) at = this.#free(set)
    this.#entries[at ?? this.#evict(set)] = { principal, action, resource, slice, used: false }
  }

  #free(set: number): number | undefined {
    const first = (set & this.#mask) * WAYS
    for (let at = first; at < first + WAYS; at++) if (this.#entries[at] === undefined) return at
    return undefined
  }

  #evict(hashed: number): number {
    const set = hashed & this.#mask
    let hand = this.#hands[set] ?? 0
    // Ends: an entry that is passed over is not used when the hand comes round.
    for (;;) {
      const entry = this.#entries[set * WAYS + hand]
      if (entry?.used !== true) break
      entry.used = false
      hand = (hand + 1) % WAYS
    }
    this.#hands[set] = (hand + 1) % WAYS
    return set * WAYS + hand
  }

  /** Twice the sets, as far as the capacity goes. */
  #grow(): boolean {
    const most = 2 ** Math.floor(Math.log2(this.#capacity / WAYS))
    const sets = this.#mask < 0 ? Math.min(FIRST_SETS, most) : (this.#mask + 1) * 2
    if (!(sets >= 1 && sets <= most)) return false
    const entries = this.#entries
    this.#entries = Array.from({ length: sets * WAYS })
    this.#hands = new Uint8Array(sets)
    this.#mask = sets - 1
    for (const entry of entries) {
      if (entry === undefined) continue
      // The entries of one set are shared out between two, so there is room.
      const free = this.#free(hash(entry.principal, entry.action, entry.resource))
      if (free === undefined) continue
      entry.used = false
      this.#entries[free] = entry
    }
    return true
  }
}

function hash(principal: number, action: number, resource: number): number {
  let h = Math.imul(principal, 0x9e3779b1) ^ Math.imul(action, 0x85ebca6b)
  h ^= Math.imul(resource, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d)
  return h ^ (h >>> 12)
}
