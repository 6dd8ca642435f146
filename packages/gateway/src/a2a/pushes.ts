import type { Clock } from '@sallyport/base'
import { Pace } from '../edge/pace.ts'
import { Refusal } from '../refusal.ts'
import type { PushConfig } from './read.ts'

/** Where a peer was told to push to, as its caller may be told of it again: never what it shows there. */
export type Push = Pick<PushConfig, 'url'>

/** Of a task: by whom they are counted, and which they are. */
export interface Pushing {
  readonly owner: { readonly session: string }
  readonly pushes: Map<string, Push>
}

export interface PushesOptions {
  readonly clock: Clock
  readonly maxPerTask: number
  readonly maxPerSession: number
  readonly maxTotal: number
}

/** How many a session may set in the long run and at once: each is a request to the peer, and what it sends later passes nobody here. */
const PER_SECOND = 1
const AT_ONCE = 32

/** Room that is taken for one, until it is known whether the peer took it. */
export interface Room {
  /** @param of the task that it is of; absent where nothing came of it */
  settle(of?: Pushing): void
}

/** Counts where peers were told to push to: so many a task, a session and in all, and no faster than a session may. */
export class Pushes {
  readonly #options: PushesOptions
  readonly #pace: Pace
  readonly #bySession = new Map<string, number>()
  readonly #coming = new WeakMap<Pushing, number>()
  readonly #gone = new WeakSet<Pushing>()
  #total = 0

  constructor(options: PushesOptions) {
    this.#options = options
    this.#pace = new Pace(PER_SECOND, AT_ONCE, options.clock)
  }

  get size(): number {
    return this.#total
  }

  /**
   * To be asked before a peer is told.
   *
   * @param task absent where the peer may make one
   * @throws Refusal `SP_A2A_PUSH_LIMIT`
   */
  room(
    session: string,
    task: Pushing | undefined,
    { id, url }: Push & { readonly id: string },
  ): Room {
    const { maxPerTask, maxPerSession, maxTotal } = this.#options
    if (!this.#pace.admits(session)) throw tooMany('it comes too fast', 1 / PER_SECOND)
    const known = task?.pushes.has(id) === true
    const ofTask = task ? task.pushes.size + (this.#coming.get(task) ?? 0) : 0
    if (!known && ofTask >= maxPerTask) throw tooMany('the task has as many as it may have')
    // A known one takes room as well while the peer is told: it may be deleted meanwhile.
    if ((this.#bySession.get(session) ?? 0) >= maxPerSession) {
      throw tooMany('the caller has as many as it may have')
    }
    if (this.#total >= maxTotal) throw tooMany('the gateway has as many as it may have')
    this.#add(session, 1)
    const coming = (by: number): void => {
      if (task) this.#coming.set(task, (this.#coming.get(task) ?? 0) + by)
    }
    coming(1)
    let settled = false
    return {
      settle: (of) => {
        if (settled) return
        settled = true
        coming(-1)
        const kept = of && !this.#gone.has(of) ? of : undefined
        if (!kept || kept.pushes.has(id)) this.#add(session, -1)
        kept?.pushes.set(id, { url })
      },
    }
  }

  delete({ owner, pushes }: Pushing, id: string): void {
    if (pushes.delete(id)) this.#add(owner.session, -1)
  }

  /** Of a task that is forgotten here. */
  clear(task: Pushing): void {
    this.#gone.add(task)
    this.#add(task.owner.session, -task.pushes.size)
    task.pushes.clear()
  }

  #add(session: string, by: number): void {
    this.#total += by
    const own = (this.#bySession.get(session) ?? 0) + by
    if (own > 0) this.#bySession.set(session, own)
    else this.#bySession.delete(session)
  }
}

const RETRY_SECONDS = 60

/** @param why for operators */
const tooMany = (why: string, retryAfterSeconds = RETRY_SECONDS): Refusal =>
  new Refusal('SP_A2A_PUSH_LIMIT', 'the agent may be told of no more places to push to', {
    status: 429,
    outcome: 'limited',
    retryAfterSeconds,
    detail: why,
  })
