import type { Clock } from '@sallyport/base'
import { readTransactions } from '../csv.ts'
import { generate } from '../generator.ts'
import { DAY } from '../transaction.ts'
import type { Transaction } from '../transaction.ts'

/** Transactions as core banking learns of them: the history at once, the rest over wall-clock time. */
export class TransactionStream {
  readonly #all: Transaction[]
  readonly #history: number
  readonly #perSecond: number
  readonly #clock: Clock
  #startedAt: number | undefined
  readonly #started = Promise.withResolvers<undefined>()

  /**
   * @param history how many are there from the start
   * @param perSecond how many of the rest are released each second; `Infinity` for all at once
   */
  constructor(
    transactions: readonly Transaction[],
    history: number,
    perSecond: number,
    clock: Clock,
  ) {
    this.#all = [...transactions]
    this.#history = history
    this.#perSecond = perSecond
    this.#clock = clock
  }

  /** How many can be read now. Time starts with the first read. */
  released(): number {
    if (this.#startedAt === undefined) {
      this.#startedAt = this.#clock.monotonic()
      this.#started.resolve(undefined)
    }
    const seconds = (this.#clock.monotonic() - this.#startedAt) / 1000
    const more = this.#perSecond === Infinity ? Infinity : Math.floor(seconds * this.#perSecond)
    return Math.min(this.#all.length, this.#history + more)
  }

  /** Resolves with the first read. */
  get started(): Promise<undefined> {
    return this.#started.promise
  }

  get size(): number {
    return this.#all.length
  }

  at(index: number): Transaction | undefined {
    return this.#all[index]
  }

  /** Puts a payment into the stream as the next to be released: how the poisoned memo arrives. */
  inject(make: (index: number, before: Transaction | undefined) => Transaction): Transaction {
    const index = this.released()
    const injected = make(index, this.#all[index - 1])
    this.#all.splice(index, 0, injected)
    return injected
  }
}

export interface StreamOptions {
  /** A file with AMLSim's columns instead of the generator. */
  readonly csv?: string
  readonly seed: number
  readonly accounts: number
  readonly days: number
  /** Seconds over which the generated stream is released after its history; files are released at once. */
  readonly seconds: number
}

/** The stream that the options describe: the generator's first 40 % of days are history, the rings come after. */
export async function openStream(options: StreamOptions, clock: Clock): Promise<TransactionStream> {
  if (options.csv !== undefined) {
    const rows: Transaction[] = []
    for await (const row of readTransactions(options.csv)) rows.push(row)
    return new TransactionStream(rows, rows.length, Infinity, clock)
  }
  const { transactions } = generate(options)
  const history = transactions.findIndex((item) => item.time >= options.days * 0.4 * DAY)
  const rest = transactions.length - history
  return new TransactionStream(transactions, history, rest / Math.max(1, options.seconds), clock)
}
