import { AmountModel } from './amounts.ts'
import { RingBook } from './book.ts'
import { findChains } from './chains.ts'
import { findFans, findScatterGather } from './fans.ts'
import { findLayers } from './layers.ts'
import { findStructuring } from './structuring.ts'
import { STREAM_SETTINGS } from './types.ts'
import type { FinderSettings, FoundRing, Payment } from './types.ts'
import { WindowGraph } from './window.ts'

/**
 * Finds rings in a stream of payments that comes in order of time. Deterministic; reads accounts, times and amounts
 * only, so pseudonyms serve as well as account numbers; memory is bounded by the settings.
 */
export class RingFinder {
  readonly #settings: FinderSettings
  readonly #graph: WindowGraph
  readonly #amounts = new AmountModel()
  readonly #book: RingBook

  constructor(settings: FinderSettings = STREAM_SETTINGS) {
    this.#settings = settings
    this.#graph = new WindowGraph(settings.windowSeconds, settings.maxPayments)
    this.#book = new RingBook(settings.settleSeconds, settings.windowSeconds * 2)
  }

  /** Takes one payment into account; returns the rings that it settles. */
  add(payment: Payment): FoundRing[] {
    // AMLSim's files have accounts that pay themselves: no ring comes of it.
    if (payment.from === payment.to) return this.#book.settle(payment.time)
    const settings = this.#settings
    const edge = this.#graph.add(payment)
    if (edge.novel) this.#amounts.add(edge.amount)
    if (edge.time - this.#graph.start >= settings.warmUpSeconds) {
      for (const find of [findChains, findFans, findScatterGather, findLayers, findStructuring]) {
        for (const candidate of find(edge, this.#graph, this.#amounts, settings)) {
          this.#book.add(candidate)
        }
      }
    }
    return this.#book.settle(edge.time)
  }

  /** The rings still open when the stream ends. */
  flush(): FoundRing[] {
    return this.#book.settle(Infinity)
  }
}
