import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

/** One signing certificate below the root. */
export interface Generation {
  readonly id: string
  readonly state: 'prepared' | 'active' | 'retired'
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  readonly preparedAt: number
  readonly activatedAt?: number
  readonly retiredAt?: number
  /** PEM. */
  readonly certificate: string
}

export interface Generations {
  readonly format: 'sallyport-authority/1'
  readonly generations: readonly Generation[]
}

export const NONE: Generations = { format: 'sallyport-authority/1', generations: [] }

export type Step = 'prepare' | 'activate' | 'forget'

export const inState = (
  { generations }: Generations,
  state: Generation['state'],
): Generation | undefined => generations.find((entry) => entry.state === state)

const valid = (entry: Generation, now: number): boolean =>
  now >= entry.notBefore && now <= entry.notAfter

/**
 * What has to be done at `now`, if anything: a successor is prepared at half of the life of what is active, and becomes active
 * with a sixth of it left, or at once where nothing that is active is valid. Whatever has expired is forgotten.
 */
export function due(all: Generations, now: number): Step | undefined {
  const active = inState(all, 'active')
  const prepared = inState(all, 'prepared')
  if (all.generations.some((entry) => entry.state !== 'active' && now > entry.notAfter)) {
    return 'forget'
  }
  if (!active || !valid(active, now)) {
    return prepared && valid(prepared, now) ? 'activate' : 'prepare'
  }
  const life = active.notAfter - active.notBefore
  if (!prepared) return now >= active.notBefore + life / 2 ? 'prepare' : undefined
  return now >= active.notAfter - life / 6 ? 'activate' : undefined
}

/** Adds a successor, in place of one that is not valid. */
export function withPrepared(all: Generations, entry: Generation): Generations {
  const kept = all.generations.filter(({ state }) => state !== 'prepared')
  return next(all, [...kept, entry])
}

/** The prepared one becomes the active one; the active one retires. */
export function withActivated(all: Generations, now: number): Generations {
  return next(
    all,
    all.generations.map((entry) => {
      if (entry.state === 'prepared') return { ...entry, state: 'active', activatedAt: now }
      return entry.state === 'active' ? { ...entry, state: 'retired', retiredAt: now } : entry
    }),
  )
}

/** Without one of them. */
export function without(all: Generations, { id }: Generation): Generations {
  return next(
    all,
    all.generations.filter((entry) => entry.id !== id),
  )
}

/** Without those under which no SVID can be valid any more. */
export function withoutExpired(all: Generations, now: number): Generations {
  return next(
    all,
    all.generations.filter((entry) => entry.state === 'active' || now <= entry.notAfter),
  )
}

function next(all: Generations, generations: readonly Generation[]): Generations {
  return { ...all, generations }
}

/** @throws SallyportError `SP_CA_STATE` where the text is not what was written */
export function readGenerations(text: string): Generations {
  let value: JsonValue
  try {
    value = parseJson(text)
  } catch (cause) {
    throw damaged('it cannot be read', cause)
  }
  if (typeof value !== 'object' || value === null || !('generations' in value)) {
    throw damaged('it holds no generations')
  }
  if (value['format'] !== NONE.format) throw damaged('it is of another format')
  // Written whole by this product, in one step; its folder is as closed as the keys beside it.
  return value as unknown as Generations
}

export function damaged(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_CA_STATE', 'the state of the signing authorities is damaged', {
    detail,
    fix: 'restore the folder `control/authority` from a backup, or move it away: a new signing authority is made then',
    cause,
  })
}
