/**
 * What two threads share: a ring of slots. The one that serves calls fills a slot and moves the head on; the one that signs follows. Whose a slot is
 * follows from its state, and it passes from one to the other by a single compare-and-exchange (ECMA-262, Atomics).
 */

/** A power of two, so that a head that runs over goes on at the right slot. */
const SLOTS = 512
/** Longest text that a slot takes, and the signature that takes its place. */
export const MAX_OCTETS = 2048

/** Of the slots' states: nobody wants anything of it. */
export const FREE = 0
/** Filled, and not begun: either thread may take it from here. */
export const WAITING = 1
/** The signing thread has it, and nobody else may touch it. */
export const RUNNING = 2
/** Its signature stands where its octets stood. */
export const SIGNED = 3
/** It could not be signed. */
export const FAILED = 4
/** Of the words of a slot. */
const STATE = 0
const LENGTH = 1
const KEY = 2
const WORDS = 4
/** Before the slots: the head, and words that nobody uses. */
const HEADER_WORDS = 4
const HEADER_BYTES = HEADER_WORDS * 4

export class Slots {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array<SharedArrayBuffer>
  readonly #octets: Buffer

  /** @param memory of another thread's `Slots`; new where there is none */
  constructor(
    memory: SharedArrayBuffer = new SharedArrayBuffer(
      HEADER_BYTES + SLOTS * (WORDS * 4 + MAX_OCTETS),
    ),
  ) {
    this.memory = memory
    this.#words = new Int32Array(memory, 0, HEADER_WORDS + SLOTS * WORDS)
    this.#octets = Buffer.from(memory, this.#words.byteLength)
  }

  /** Where the next one goes, and how far whoever signs has to go: one ticket after the other, modulo 2³². */
  get head(): number {
    return Atomics.load(this.#words, 0)
  }

  /** What was filled is to be seen by the other thread from here on. @returns the ticket after it */
  advance(ticket: number): number {
    const next = (ticket + 1) | 0
    Atomics.store(this.#words, 0, next)
    Atomics.notify(this.#words, 0)
    return next
  }

  /** Holds this thread until the head is another one. */
  awaitHead(seen: number): void {
    Atomics.wait(this.#words, 0, seen)
  }

  /** Which slot a ticket is for. */
  indexOf(ticket: number): number {
    return ticket & (SLOTS - 1)
  }

  state(ticket: number): number {
    return Atomics.load(this.#words, wordOf(ticket, STATE))
  }

  setState(ticket: number, state: number): void {
    Atomics.store(this.#words, wordOf(ticket, STATE), state)
  }

  /** @returns whether it was in the state that was expected, and is in the other now */
  pass(ticket: number, from: number, to: number): boolean {
    return Atomics.compareExchange(this.#words, wordOf(ticket, STATE), from, to) === from
  }

  /** @param text ASCII, of `MAX_OCTETS` at most @param key number of the key that is to sign it */
  fill(ticket: number, text: string, key: number): void {
    this.#octets.write(text, octetOf(ticket), 'latin1')
    this.#words[wordOf(ticket, LENGTH)] = text.length
    this.#words[wordOf(ticket, KEY)] = key
  }

  keyOf(ticket: number): number {
    return this.#words[wordOf(ticket, KEY)] ?? 0
  }

  /** A view of what was filled in. */
  filled(ticket: number): Buffer {
    return this.octets(ticket, this.#words[wordOf(ticket, LENGTH)] ?? 0)
  }

  /** A view of the first octets of a slot. */
  octets(ticket: number, length: number): Buffer {
    const from = octetOf(ticket)
    return this.#octets.subarray(from, from + length)
  }
}

const wordOf = (ticket: number, word: number): number =>
  HEADER_WORDS + (ticket & (SLOTS - 1)) * WORDS + word

const octetOf = (ticket: number): number => (ticket & (SLOTS - 1)) * MAX_OCTETS
