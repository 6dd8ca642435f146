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

/** Numbers that stand side by side for one entry: the three it is found by, and where its clauses are. */
const WIDTH = 4
const PRINCIPAL = 0
const ACTION = 1
const RESOURCE = 2
/** Range of clauses, negative where it was not used since the clock's hand last passed it; 0 where there is no entry. */
const RANGE = 3
/** A range is its first place times this, and how long it is, and one. */
const LONG = 2 ** 20

/**
 * Remembers slices, never decisions, by what a slice depends on: one number each for principal, action and resource
 * that stands for the entity with all its ancestors (`PolicyIndex.key`). An entity that changes gets another number,
 * so what is remembered cannot become wrong, only unused.
 *
 * Set-associative with a clock in each set: memory is bounded by `capacity`, whatever is asked. What a decision by one policy
 * needs is read from two arrays at one place, not from one object after the other.
 */
export class SliceMemo {
  /** Whether anything can be remembered at all. */
  readonly on: boolean
  readonly #capacity: number
  #numbers = new Float64Array(0)
  #held: (CedarDecision | undefined)[] = []
  #slices: (Slice | undefined)[] = []
  #hands = new Uint8Array(0)
  #mask = -1

  /** @param capacity entries at most, rounded down to a power of two; below 4 nothing is remembered */
  constructor(capacity: number) {
    this.#capacity = capacity
    this.on = capacity >= WAYS
  }

  /** The place of what is remembered, good until the next `put`; negative where nothing is. */
  find(principal: number, action: number, resource: number): number {
    if (this.#mask < 0) return -1
    const numbers = this.#numbers
    const first = (hash(principal, action, resource) & this.#mask) * WAYS
    for (let at = first; at < first + WAYS; at++) {
      const n = at * WIDTH
      if (
        numbers[n + PRINCIPAL] === principal &&
        numbers[n + ACTION] === action &&
        numbers[n + RESOURCE] === resource
      ) {
        const range = numbers[n + RANGE] ?? 0
        if (range > 0) return at
        if (range === 0) return -1
        numbers[n + RANGE] = -range
        return at
      }
    }
    return -1
  }

  /** @param at a place that `find` gave, as for the others */
  slice(at: number): Slice | undefined {
    return this.#slices[at]
  }

  /** `held` of the slice. */
  held(at: number): CedarDecision | undefined {
    return this.#held[at]
  }

  /** `from` of the slice. */
  from(at: number): number {
    return Math.floor((this.#numbers[at * WIDTH + RANGE] ?? 0) / LONG)
  }

  /** `to` of the slice. */
  to(at: number): number {
    const from = this.from(at)
    return from + ((this.#numbers[at * WIDTH + RANGE] ?? 0) - from * LONG) - 1
  }

  /** Keeps a slice that `find` did not find. The slice must not change from here on. */
  put(principal: number, action: number, resource: number, slice: Slice): void {
    if (slice.policies !== undefined && slice.policies.length > MAX_SLICE) return
    if (slice.to - slice.from + 1 >= LONG) return
    if (this.#mask < 0 && !this.#grow()) return
    const set = hash(principal, action, resource)
    let at = this.#free(set)
    if (at === undefined && this.#grow()) at = this.#free(set)
    this.#set(at ?? this.#evict(set), principal, action, resource, slice)
  }

  #set(at: number, principal: number, action: number, resource: number, slice: Slice): void {
    const n = at * WIDTH
    this.#numbers[n + PRINCIPAL] = principal
    this.#numbers[n + ACTION] = action
    this.#numbers[n + RESOURCE] = resource
    this.#numbers[n + RANGE] = -(slice.from * LONG + slice.to - slice.from + 1)
    this.#held[at] = slice.held
    this.#slices[at] = slice
  }

  #free(set: number): number | undefined {
    const first = (set & this.#mask) * WAYS
    for (let at = first; at < first + WAYS; at++) if (this.#slices[at] === undefined) return at
    return undefined
  }

  #evict(hashed: number): number {
    const set = hashed & this.#mask
    let hand = this.#hands[set] ?? 0
    // Ends: an entry that is passed over is not used when the hand comes round.
    for (;;) {
      const n = (set * WAYS + hand) * WIDTH + RANGE
      const range = this.#numbers[n] ?? 0
      if (range <= 0) break
      this.#numbers[n] = -range
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
    const [numbers, slices] = [this.#numbers, this.#slices]
    this.#numbers = new Float64Array(sets * WAYS * WIDTH)
    this.#held = Array.from({ length: sets * WAYS })
    this.#slices = Array.from({ length: sets * WAYS })
    this.#hands = new Uint8Array(sets)
    this.#mask = sets - 1
    for (const [at, slice] of slices.entries()) {
      if (slice === undefined) continue
      const [p = 0, a = 0, r = 0] = numbers.subarray(at * WIDTH, at * WIDTH + 3)
      // The entries of one set are shared out between two, so there is room.
      const free = this.#free(hash(p, a, r))
      if (free !== undefined) this.#set(free, p, a, r, slice)
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
