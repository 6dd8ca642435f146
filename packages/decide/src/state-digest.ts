import { canonicalJson, sha256Hex } from '@sallyport/base'
import type { Call, SessionState } from './types.ts'

/** Instances whose digest is kept at once. */
const MAX_KEPT = 4096

/** What the log says of the state that decisions rest on. */
export class StateDigests {
  readonly #entitiesDigest: string
  /** The last state of each instance, by the very list of labels, and its digest. */
  readonly #last = new Map<string, SessionState & { agent: string; digest: string }>()

  /** @param entitiesDigest SHA-256, hex, of the entities of the declaration */
  constructor(entitiesDigest: string) {
    this.#entitiesDigest = entitiesDigest
  }

  /** SHA-256, hex, of the entities and of what the session has become. */
  of(call: Call, session: SessionState): string {
    const { instance, agent, onBehalfOf, payment, mandate } = call
    const { labels, risk } = session
    // Most calls have no more than this, and a list that cannot change says what it said before.
    const isPlain =
      onBehalfOf === undefined &&
      payment === undefined &&
      mandate === undefined &&
      Object.isFrozen(labels)
    const known = isPlain ? this.#last.get(instance) : undefined
    if (known?.agent === agent && known.labels === labels && known.risk === risk) {
      return known.digest
    }
    const sorted = [...new Set(labels)].sort()
    const entities = this.#entitiesDigest
    // What is undefined is left out, so that records from before it existed keep their digest.
    const more = { onBehalfOf, payment, mandate }
    const state = { entities, instance, agent, labels: sorted, risk, ...more }
    const digest = sha256Hex(canonicalJson(state))
    if (isPlain) {
      if (this.#last.size >= MAX_KEPT) this.#last.clear()
      this.#last.set(instance, { agent, labels, risk, digest })
    }
    return digest
  }
}
