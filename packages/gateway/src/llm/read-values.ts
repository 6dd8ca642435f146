import { appendFileSync, closeSync, existsSync, fsyncSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { classRank as rank } from '@sallyport/network'
import type { Field, LlmSystem, Network } from '@sallyport/network'
import { KnownValues } from '@sallyport/redact'
import type { KnownSource } from '@sallyport/redact'
import { writeDurably } from '../state/files.ts'

/** What is known of one value: who read it, as which class, and which labels go with it. */
export interface About {
  readonly owners: Map<string, number>
  readonly tags: Set<string>
}

/** What is kept of one instance: a long text is several values. */
interface Count {
  readonly values: number
  readonly characters: number
}

export interface ReadValuesOptions {
  readonly dataDir: string
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

const DAY = 86_400_000
/** How long an instance is remembered that read something: longer than any lives. */
const REMEMBERED_DAYS = 90
const MAX_VALUES_PER_INSTANCE = 50_000
const MAX_CHARACTERS_PER_INSTANCE = 4_000_000
const MAX_VALUES = 400_000
/** Of instances with a value each: what many read is kept once, and who read it as often as they are. */
const MAX_READERS = 4_000_000
/** For how long what an instance read is kept while it neither reads nor asks; and where three quarters are taken. */
const IDLE_MS = 7 * DAY
const IDLE_WHEN_FULL_MS = DAY
const FORGET_EVERY_MS = 3_600_000
const CONFIDENTIAL = rank('confidential')

/**
 * The values that instances read whole, for models must not learn more than their vendors may. Kept in memory alone; which
 * instances read any is kept in a file, so that after a restart it is known of whom too little is known.
 */
export class ReadValues {
  readonly #options: ReadValuesOptions
  readonly #values = new KnownValues<About>({ maxValues: MAX_VALUES, maxCharacters: 32_000_000 })
  readonly #counts = new Map<string, Count>()
  /** The values of all counts. */
  #readers = 0
  /** Instances that read something that is not here → the rank from which a vendor is told all the same. */
  readonly #incomplete = new Map<string, number>()
  /** Instance → the last day that stands in the file. */
  readonly #noted = new Map<string, number>()
  /** Instance that values are kept of → when it last read or asked. */
  readonly #seen = new Map<string, number>()
  #forgotten: number

  private constructor(options: ReadValuesOptions) {
    this.#options = options
    this.#forgotten = options.now()
  }

  /** How many values are kept. */
  get size(): number {
    return this.#values.size
  }

  /**
   * Forgets what instances read that have not been heard of for long, and on which day others did; at most once an hour. Whoever comes
   * back all the same is one of whom too little is known.
   *
   * @returns undefined where it is not yet time
   */
  forget(): Promise<void> | undefined {
    const now = this.#options.now()
    if (now - this.#forgotten < FORGET_EVERY_MS) return undefined
    this.#forgotten = now
    return this.#forget(now)
  }

  async #forget(now: number): Promise<void> {
    const today = this.#today()
    for (const [instance, day] of this.#noted) {
      if (day + REMEMBERED_DAYS >= today) continue
      this.#noted.delete(instance)
      this.#incomplete.delete(instance)
    }
    const idle = this.size > (MAX_VALUES * 3) / 4 ? IDLE_WHEN_FULL_MS : IDLE_MS
    const gone = [...this.#seen].filter(([, at]) => now - at >= idle).map(([instance]) => instance)
    if (gone.length === 0) return
    for (const instance of gone) {
      this.#miss(instance)
      this.#seen.delete(instance)
      this.#readers -= this.#counts.get(instance)?.values ?? 0
      this.#counts.delete(instance)
    }
    const steps = this.#values.forget((about) => {
      for (const instance of gone) about.owners.delete(instance)
      return about.owners.size > 0 ? about : undefined
    })
    // A stretch at a time: other calls go on between.
    for (const _step of steps) {
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
    }
  }

  /** Reads back who read something before. */
  static async open(options: ReadValuesOptions): Promise<ReadValues> {
    const values = new ReadValues(options)
    const file = join(options.dataDir, FILE)
    if (!existsSync(file)) return values
    const today = values.#today()
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      const [day = '', instance] = line.split(' ')
      // A line that cannot be read is the one that a crash cut off: what it was for never left.
      if (instance === undefined || !/^\d+$/.test(day)) continue
      if (Number(day) + REMEMBERED_DAYS >= today) values.#noted.set(instance, Number(day))
    }
    for (const instance of values.#noted.keys()) values.#miss(instance)
    const kept = [...values.#noted].map(([instance, day]) => `${day} ${instance}\n`)
    await writeDurably(file, kept.join(''))
    return values
  }

  /** Whether an instance may have read what is not known here and a vendor of `mayRead` may not. */
  isIncomplete(instance: string, mayRead: Field['class']): boolean {
    return rank(mayRead) < (this.#incomplete.get(instance) ?? 0)
  }

  /** Whether what an answer shows must be taken down value by value: models are declared that may not read all of it. */
  watches(network: Network, highest: Field['class']): boolean {
    const { models, least } = modelsOf(network)
    return models.some(({ mayRead }) => rank(mayRead) < rank(highest)) && rank(highest) >= least
  }

  /**
   * Takes down what an answer shows an instance, before it does.
   *
   * @returns what to call with every value that it shows whole
   */
  noter(
    instance: string,
    network: Network,
  ): (value: string | number, field: Pick<Field, 'class' | 'tags'>) => void {
    const { models, least } = modelsOf(network)
    return (value, field) => {
      const level = rank(field.class)
      if (level < least) return
      this.#note(instance)
      // Models may be declared later; whoever read before that starts anew to use them.
      if (models.length === 0) this.#miss(instance)
      else this.#take(instance, String(value), level, field.tags)
    }
  }

  /** An instance is shown values of a class up to `highest`, and nobody takes down which. */
  unseen(instance: string, network: Network, highest: Field['class']): void {
    if (rank(highest) < modelsOf(network).least) return
    this.#note(instance)
    // Whoever may read internal data loses nothing by it.
    this.#miss(instance, rank(highest) < CONFIDENTIAL ? rank(highest) : undefined)
  }

  /**
   * What an instance read of a class above `mayRead`. `found` is told of every value that a text holds, anybody's, and whether it
   * is one of these.
   */
  above(
    instance: string,
    mayRead: Field['class'],
    found: (about: About, above: boolean) => void,
  ): KnownSource {
    const highest = rank(mayRead)
    if (this.#seen.has(instance)) this.#seen.set(instance, this.#options.now())
    return this.#values.where((about) => {
      const above = (about.owners.get(instance) ?? -1) > highest
      found(about, above)
      return above
    })
  }

  /** Whatever anybody is known to have read. */
  anybodys(): KnownSource {
    return this.#values
  }

  /** What only others read, confidential or above. @param told what the instance itself has said */
  ofOthers(instance: string, told: ReadonlySet<About>): KnownSource {
    return this.#values.where(
      (about) =>
        !about.owners.has(instance) &&
        !told.has(about) &&
        [...about.owners.values()].some((level) => level >= CONFIDENTIAL),
    )
  }

  #take(instance: string, value: string, level: number, tags: readonly string[]): void {
    this.#seen.set(instance, this.#options.now())
    const { values, characters } = this.#counts.get(instance) ?? { values: 0, characters: 0 }
    const full =
      values >= MAX_VALUES_PER_INSTANCE ||
      characters >= MAX_CHARACTERS_PER_INSTANCE ||
      this.#readers >= MAX_READERS
    if (full) {
      this.#miss(instance)
      return
    }
    const added = { values: 0, characters: 0 }
    const note = (part: string): boolean =>
      this.#values.note(part, (before) => {
        const about = before ?? { owners: new Map<string, number>(), tags: new Set<string>() }
        const known = about.owners.get(instance)
        if (known === undefined) {
          added.values++
          added.characters += part.length
        }
        about.owners.set(instance, Math.max(known ?? 0, level))
        for (const tag of tags) about.tags.add(tag)
        return about
      })
    // All parts are found wherever the whole is, and a part by itself too.
    const room = partsOf(value).every(note)
    if (!room) this.#miss(instance)
    if (added.values === 0) return
    this.#readers += added.values
    this.#counts.set(instance, {
      values: values + added.values,
      characters: characters + added.characters,
    })
  }

  #miss(instance: string, from: number = rank('restricted')): void {
    this.#incomplete.set(instance, Math.max(from, this.#incomplete.get(instance) ?? 0))
  }

  /** Durable before the answer leaves; once a day for each instance. */
  #note(instance: string): void {
    const today = this.#today()
    if (this.#noted.get(instance) === today) return
    const file = openSync(join(this.#options.dataDir, FILE), 'a', 0o600)
    try {
      appendFileSync(file, `${today} ${instance}\n`)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    this.#noted.set(instance, today)
  }

  #today(): number {
    return Math.floor(this.#options.now() / DAY)
  }
}

interface Models {
  readonly models: readonly LlmSystem[]
  /** The rank of the least class that is taken down. */
  readonly least: number
}

const known = new WeakMap<Network, Models>()

/** The models that a declaration has: looked for once, for every answer asks. */
function modelsOf(network: Network): Models {
  let found = known.get(network)
  if (!found) {
    const models = network.systems.flatMap(({ llm }) => (llm ? [llm] : []))
    known.set(network, (found = { models, least: lowest(models) }))
  }
  return found
}

/** The least class that is taken down: where everybody may read internal data, that is not. */
const lowest = (models: readonly LlmSystem[]): number =>
  models.some(({ mayRead }) => mayRead === 'public') ? rank('internal') : CONFIDENTIAL

/** A long text, cut between words. */
function partsOf(value: string): string[] {
  if (value.length <= MAX_PART) return [value]
  const parts: string[] = []
  for (let from = 0; from < value.length;) {
    const blank = value.indexOf(' ', from + MAX_PART)
    const to = blank < 0 ? value.length : blank
    parts.push(value.slice(from, to))
    from = to + 1
  }
  return parts
}

const MAX_PART = 512
const FILE = 'read-values'
