import { SallyportError } from '@sallyport/base'
import { chanceOf } from '../near-http.ts'
import type { Chance } from '../near-http.ts'

/** What became of a message: `alone` was taken, but the other reader could not say what it reads, so that nothing was compared. */
export type Outcome = 'same' | 'alone' | 'refused'

/** One part of the gateway that reads what others wrote, beside a reader that shares nothing with it. */
export interface Kind {
  readonly name: string
  /** How often of all messages it is tried, as a share. */
  readonly share: number
  /**
   * Makes one message and has both read it.
   *
   * @throws Error where the gateway's reader took it, and the other reads something else
   */
  readonly read: (chance: Chance) => Outcome | Promise<Outcome>
}

export const pick = <T>(chance: Chance, from: readonly T[]): T => {
  const one = from[chance(from.length)]
  if (one === undefined) throw new TypeError('nothing to choose from')
  return one
}

/** What is read; undefined where it is refused with a code. Anything else that is thrown is a finding. */
export function orRefused<T>(
  reading: () => T,
  ...also: readonly (new (message: string) => Error)[]
): T | undefined {
  try {
    return reading()
  } catch (error) {
    if (error instanceof SallyportError || also.some((one) => error instanceof one)) {
      return undefined
    }
    throw error
  }
}

/** @throws Error unless both read the same */
export function demandSame(what: string, message: unknown, ours: unknown, theirs: unknown): void {
  const [a, b] = [JSON.stringify(ours), JSON.stringify(theirs)]
  if (a === b) return
  throw new Error(`${what} ${JSON.stringify(message)}: we read ${a}, another reads ${b}`)
}

/** A text with some pieces put into it, taken out of it, or written twice. */
export function changed(
  text: string,
  pieces: readonly string[],
  chance: Chance,
  most: number,
): string {
  let now = text
  for (let left = chance(most + 1); left > 0; left--) {
    const at = chance(now.length + 1)
    const piece = pick(chance, pieces)
    switch (chance(5)) {
      case 0:
        now = now.slice(0, at) + now.slice(at + 1 + chance(3))
        break
      case 1:
        now = now.slice(0, at) + piece + now.slice(at + 1 + chance(4))
        break
      case 2: {
        const end = at + 1 + chance(12)
        now = now.slice(0, end) + now.slice(at, end) + now.slice(end)
        break
      }
      default:
        now = now.slice(0, at) + piece + now.slice(at)
    }
  }
  return now
}

/** Bytes with some changed, taken out, put in, or written twice. */
export function changedBytes(bytes: Buffer, chance: Chance): Buffer {
  let now = Buffer.from(bytes)
  for (let left = chance(4); left > 0; left--) {
    const at = chance(now.length + 1)
    const end = at + 1 + chance(6)
    switch (chance(4)) {
      case 0:
        now = Buffer.concat([now.subarray(0, at), now.subarray(end)])
        break
      case 1:
        now = Buffer.concat([now.subarray(0, end), now.subarray(at)])
        break
      case 2:
        now = Buffer.concat([now.subarray(0, at), Buffer.of(chance(256)), now.subarray(at)])
        break
      default:
        if (at < now.length) now[at] = chance(2) === 0 ? chance(256) : (now[at] ?? 0) ^ 1
    }
  }
  return now
}

/** The same bytes in pieces. */
export function cut(bytes: Buffer, chance: Chance): Buffer[] {
  const pieces: Buffer[] = []
  let at = 0
  for (let left = chance(4); left > 0 && at < bytes.length; left--) {
    const end = at + 1 + chance(bytes.length - at)
    pieces.push(bytes.subarray(at, end))
    at = end
  }
  pieces.push(bytes.subarray(at))
  return pieces
}

export interface Count {
  messages: number
  /** Taken, and read the same by the other. */
  same: number
  alone: number
}

/**
 * Has messages read twice, each made from its own number, so that one can be made again alone.
 *
 * @param until in milliseconds of `performance.now()`
 * @param note told about every stretch of messages
 * @returns by kind how many there were, and what became of them @throws Error with seed and number of the first difference
 */
export async function readTwice(
  kinds: readonly Kind[],
  options: {
    readonly messages: number
    readonly seed: number
    readonly from?: number
    readonly until?: number
    readonly note?: (done: number) => void
  },
): Promise<Readonly<Record<string, Count>>> {
  const { messages, seed, from = 0, until = Number.POSITIVE_INFINITY, note } = options
  const counts: Record<string, Count> = {}
  for (const { name } of kinds) counts[name] = { messages: 0, same: 0, alone: 0 }
  const total = kinds.reduce((sum, { share }) => sum + share, 0)
  for (let i = from; i < from + messages; i++) {
    const chance = chanceOf(Math.imul(seed, 0x9e3779b1) + i)
    let at = chance(total)
    const kind = kinds.find(({ share }) => (at -= share) < 0)
    const count = kind && counts[kind.name]
    if (!kind || !count) throw new TypeError('there is nothing to try')
    try {
      const reading = kind.read(chance)
      count.messages++
      const outcome = typeof reading === 'string' ? reading : await reading
      if (outcome !== 'refused') count[outcome]++
    } catch (error) {
      throw new Error(`${kind.name}, --seed ${seed} --from ${i}: ${String(error)}`, {
        cause: error,
      })
    }
    if (i % 4096 === 0) {
      if (performance.now() > until) break
      note?.(i - from)
    }
  }
  return counts
}
