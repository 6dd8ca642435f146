import type { Payment } from './types.ts'

/** A payment in the window. */
export interface Edge extends Payment {
  readonly index: number
  /** Whether the two had not dealt with each other before this window. */
  readonly novel: boolean
  /** Payments of the same pair, of like amount, within the same day, this one included. */
  readonly repeat: number
}

interface Pair {
  first: number
  last: number
  lastAmount: number
  repeat: number
}

/** How often an account meets new counterparties, over its whole life in the stream. */
interface Life {
  since: number
  novelIn: number
  novelOut: number
}

const DAY = 86_400
const MAX_PAIRS = 1_000_000
const NONE: readonly Edge[] = []

/** The graph of the latest payments, with what is known of accounts and pairs before. Memory is bounded. */
export class WindowGraph {
  readonly #windowSeconds: number
  readonly #maxPayments: number
  readonly #queue: (Edge | undefined)[] = []
  #head = 0
  readonly #in = new Map<string, Edge[]>()
  readonly #out = new Map<string, Edge[]>()
  readonly #pairs = new Map<string, Pair>()
  readonly #lives = new Map<string, Life>()
  #index = 0
  #novel = 0
  #repeats = 0
  #start: number | undefined

  constructor(windowSeconds: number, maxPayments: number) {
    this.#windowSeconds = windowSeconds
    this.#maxPayments = maxPayments
  }

  /** Time of the first payment. */
  get start(): number {
    return this.#start ?? 0
  }

  /** Novel payments in the window. */
  get novel(): number {
    return this.#novel
  }

  /** The share of payments that repeat one of the same day and pair, at least half a payment's. */
  get repeatShare(): number {
    return (this.#repeats + 0.5) / (this.#index + 1)
  }

  add(payment: Payment): Edge {
    const { time, from, to, amount } = payment
    this.#start ??= time
    this.#evict(time)
    const key = `${from}|${to}`
    const known = this.#pairs.get(key)
    const pair: Pair = known ?? { first: time, last: time, lastAmount: 0, repeat: 0 }
    const like = Math.abs(Math.log(amount / (pair.lastAmount || 1))) < Math.log(2)
    pair.repeat = known && like && time - pair.last < DAY ? pair.repeat + 1 : 1
    if (pair.repeat > 1) this.#repeats++
    pair.last = time
    pair.lastAmount = amount
    if (known) this.#pairs.delete(key)
    this.#pairs.set(key, pair)
    if (this.#pairs.size > MAX_PAIRS) this.#forgetOldest(this.#pairs)
    const edge: Edge = {
      time,
      from,
      to,
      amount,
      index: this.#index++,
      novel: time - pair.first <= this.#windowSeconds,
      repeat: pair.repeat,
    }
    this.#queue.push(edge)
    push(this.#out, from, edge)
    push(this.#in, to, edge)
    if (edge.novel) this.#novel++
    if (!known) {
      this.#life(from, time).novelOut++
      this.#life(to, time).novelIn++
    }
    return edge
  }

  into(account: string): readonly Edge[] {
    return this.#in.get(account) ?? NONE
  }

  outOf(account: string): readonly Edge[] {
    return this.#out.get(account) ?? NONE
  }

  /**
   * New counterparties expected within `seconds`, from the account's life before the `recent` ones now in question.
   * Everyone is granted three a hundred days.
   */
  expectedNew(account: string, side: 'in' | 'out', recent: number, seconds: number): number {
    const life = this.#lives.get(account)
    const last = this.#queue.at(-1)?.time ?? 0
    const days = life ? Math.max(0, last - seconds - life.since) / DAY : 0
    const before = life ? Math.max(0, (side === 'in' ? life.novelIn : life.novelOut) - recent) : 0
    return (((0.3 + before) / (10 + days)) * seconds) / DAY
  }

  #life(account: string, time: number): Life {
    const life = this.#lives.get(account) ?? { since: time, novelIn: 0, novelOut: 0 }
    this.#lives.set(account, life)
    if (this.#lives.size > MAX_PAIRS) this.#forgetOldest(this.#lives)
    return life
  }

  #forgetOldest(map: Map<string, unknown>): void {
    const oldest = map.keys().next()
    if (!oldest.done) map.delete(oldest.value)
  }

  #evict(now: number): void {
    for (;;) {
      const edge = this.#queue[this.#head]
      if (!edge) break
      const full = this.#queue.length - this.#head >= this.#maxPayments
      if (!full && now - edge.time <= this.#windowSeconds) break
      this.#queue[this.#head++] = undefined
      shift(this.#out, edge.from)
      shift(this.#in, edge.to)
      if (edge.novel) this.#novel--
    }
    if (this.#head > 4096 && this.#head * 2 > this.#queue.length) {
      this.#queue.splice(0, this.#head)
      this.#head = 0
    }
  }
}

function push(map: Map<string, Edge[]>, key: string, edge: Edge): void {
  const list = map.get(key)
  if (list) list.push(edge)
  else map.set(key, [edge])
}

/** Edges leave in the order in which they came, so the oldest of an account is its first. */
function shift(map: Map<string, Edge[]>, key: string): void {
  const list = map.get(key)
  list?.shift()
  if (list?.length === 0) map.delete(key)
}
