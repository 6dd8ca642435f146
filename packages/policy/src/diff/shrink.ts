import type { CedarJson } from '@sallyport/cedar'
import type { Request } from './request.ts'

/** A Wednesday noon: a time that says nothing. */
const PLAIN_TIME = Date.UTC(2026, 6, 1, 12)
const MAX_ROUNDS = 4

/**
 * Makes a request as plain as it can be while `holds` still does: nothing in it that does not matter, and every number at the very
 * boundary where it begins to.
 */
export function shrink(request: Request, holds: (request: Request) => boolean): Request {
  let best = request
  const attempt = (next: Request): boolean => {
    if (!holds(next)) return false
    best = next
    return true
  }
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const before = best
    const { source: _, ...rest } = best.call
    if (best.call.source !== undefined) attempt({ ...best, call: rest })
    const { onBehalfOf: _behalf, ...forItself } = best.call
    if (best.call.onBehalfOf !== undefined) attempt({ ...best, call: forItself })
    const { payment: _payment, ...unpaid } = best.call
    if (best.call.payment !== undefined) attempt({ ...best, call: unpaid })
    const { mandate: _mandate, ...unmandated } = best.call
    if (best.call.mandate !== undefined) attempt({ ...best, call: unmandated })
    if (best.call.time !== PLAIN_TIME) attempt(withCall(best, { time: PLAIN_TIME }))
    for (const one of best.session.labels) {
      const labels = best.session.labels.filter((label) => label !== one)
      attempt({ ...best, session: { ...best.session, labels } })
    }
    for (const one of best.call.evidence.approvals) {
      const approvals = best.call.evidence.approvals.filter((name) => name !== one)
      attempt(withCall(best, { evidence: { approvals } }))
    }
    const risk = (value: number): Request => ({
      ...best,
      session: { ...best.session, risk: value },
    })
    towards(best.session.risk, 0, (value) => attempt(risk(value)))
    for (const path of pathsOf(best.call.input)) shrinkAt(path, () => best, attempt)
    if (best === before) break
  }
  return best
}

type Path = readonly (string | number)[]

const withCall = (request: Request, call: Partial<Request['call']>): Request => ({
  ...request,
  call: { ...request.call, ...call },
})

/** Moves a number as near to `goal` as it goes by halving: to a boundary, where there is one. */
function towards(from: number, goal: number, attempt: (value: number) => boolean): void {
  if (from === goal || attempt(goal)) return
  let [holds, fails] = [from, goal]
  while (Math.abs(holds - fails) > 1) {
    const middle = Math.trunc(holds / 2 + fails / 2)
    if (middle === holds || middle === fails) break
    if (attempt(middle)) holds = middle
    else fails = middle
  }
}

function shrinkAt(path: Path, now: () => Request, attempt: (next: Request) => boolean): void {
  const value = at(now().call.input, path)
  const put = (next: CedarJson | undefined): boolean => {
    const input = replaced(now().call.input, path, next)
    // The root of an input is a record and stays one.
    return attempt(withCall(now(), { input: input as Request['call']['input'] }))
  }
  if (value === undefined || put(undefined)) return
  if (typeof value === 'number') {
    if (!put(0)) towards(value, value > 0 ? 1 : -1, put)
  } else if (typeof value === 'string') {
    for (const plain of ['', 'a', 'A', '1', value.slice(0, 1)]) {
      if (plain.length < value.length && put(plain)) return
    }
  }
}

function* pathsOf(value: CedarJson, path: Path = []): Generator<Path> {
  if (typeof value !== 'object') {
    yield path
    return
  }
  // A JSON value of an input: a list or a record.
  for (const [key, inner] of Object.entries(value).toReversed()) {
    const step = Array.isArray(value) ? Number(key) : key
    yield* pathsOf(inner as CedarJson, [...path, step])
  }
  if (path.length > 0) yield path
}

function at(value: CedarJson, path: Path): CedarJson | undefined {
  let found: CedarJson | undefined = value
  for (const step of path) {
    if (typeof found !== 'object') return undefined
    // Own members only: a path is of names that were there.
    found = (Object.entries(found) as [string, CedarJson][]).find(
      ([name]) => name === String(step),
    )?.[1]
  }
  return found
}

function replaced(value: CedarJson, path: Path, next: CedarJson | undefined): CedarJson {
  const [step, ...rest] = path
  if (step === undefined || typeof value !== 'object') return next ?? value
  const entries = (Object.entries(value) as [string, CedarJson][]).flatMap(
    ([name, inner]): [string, CedarJson][] => {
      if (name !== String(step)) return [[name, inner]]
      if (rest.length > 0) return [[name, replaced(inner, rest, next)]]
      return next === undefined ? [] : [[name, next]]
    },
  )
  return Array.isArray(value) ? entries.map(([, inner]) => inner) : Object.fromEntries(entries)
}
