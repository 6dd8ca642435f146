import type { BoolCode } from './code.ts'
import type { CompiledPolicy } from './policy.ts'
import type { CedarDecision } from './types.ts'

/** The policies whose scope admits a request: which of them hold is not known here. */
export class Slice {
  // Where there is one policy, what a decision reads of it is here too: each object on the way to it is a read of cold memory.
  readonly first: BoolCode | undefined
  readonly second: BoolCode | undefined
  readonly third: BoolCode | undefined
  readonly rest: BoolCode | undefined
  /** The answer where `only` holds. */
  readonly held: CedarDecision | undefined
  /** Its one policy, which then stands in no list. */
  readonly only: CompiledPolicy | undefined
  readonly policies: readonly CompiledPolicy[] | undefined

  constructor(policies: readonly CompiledPolicy[]) {
    const [only] = policies
    const one = policies.length === 1 ? only : undefined
    this.first = one?.first
    this.second = one?.second
    this.third = one?.third
    this.rest = one?.rest
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
  /** Three keys an entry; NaN, which equals nothing, where there is none. */
  #keys = new Float64Array(0)
  #slices: (Slice | undefined)[] = []
  /** Whether an entry was used since the clock's hand last passed it. */
  #used = new Uint8Array(0)
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
    const keys = this.#keys
    for (let entry = first; entry < first + WAYS; entry++) {
      const at = entry * 3
      if (keys[at] === principal && keys[at + 1] === action && keys[at + 2] === resource) {
        this.#used[entry] = 1
        return this.#slices[entry]
      }
    }
    return undefined
  }

  /** Keeps a slice that `get` did not find. The slice must not change from here on. */
  put(principal: number, action: number, resource: number, slice: Slice): void {
    if (slice.policies !== undefined && slice.policies.length > MAX_SLICE) return
    if (this.#mask < 0 && !this.#grow()) return
    let entry = this.#free(principal, action, resource)
    if (entry === undefined && this.#grow()) entry = this.#free(principal, action, resource)
    this.#write(
      entry ?? this.#evict(principal, action, resource),
      principal,
      action,
      resource,
      slice,
    )
  }

  #free(principal: number, action: number, resource: number): number | undefined {
    const first = (hash(principal, action, resource) & this.#mask) * WAYS
    for (let entry = first; entry < first + WAYS; entry++) {
      if (this.#slices[entry] === undefined) return entry
    }
    return undefined
  }

  #evict(principal: number, action: number, resource: number): number {
    const set = hash(principal, action, resource) & this.#mask
    let hand = this.#hands[set] ?? 0
    // Ends: an entry that is passed over is not used when the hand comes round.
    while (this.#used[set * WAYS + hand] === 1) {
      this.#used[set * WAYS + hand] = 0
      hand = (hand + 1) % WAYS
    }
    this.#hands[set] = (hand + 1) % WAYS
    return set * WAYS + hand
  }

  #write(entry: number, principal: number, action: number, resource: number, slice: Slice): void {
    this.#keys[entry * 3] = principal
    this.#keys[entry * 3 + 1] = action
    this.#keys[entry * 3 + 2] = resource
    this.#slices[entry] = slice
    this.#used[entry] = 0
  }

  /** Twice the sets, as far as the capacity goes. */
  #grow(): boolean {
    const most = 2 ** Math.floor(Math.log2(this.#capacity / WAYS))
    const sets = this.#mask < 0 ? Math.min(FIRST_SETS, most) : (this.#mask + 1) * 2
    if (sets < 1 || sets > most) return false
    const [keys, slices] = [this.#keys, this.#slices]
    this.#keys = new Float64Array(sets * WAYS * 3).fill(Number.NaN)
    this.#slices = Array.from({ length: sets * WAYS })
    this.#used = new Uint8Array(sets * WAYS)
    this.#hands = new Uint8Array(sets)
    this.#mask = sets - 1
    for (const [entry, slice] of slices.entries()) {
      if (slice === undefined) continue
      const [p = 0, a = 0, r = 0] = keys.subarray(entry * 3, entry * 3 + 3)
      // The entries of one set are shared out between two, so there is room.
      const free = this.#free(p, a, r)
      if (free !== undefined) this.#write(free, p, a, r, slice)
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
