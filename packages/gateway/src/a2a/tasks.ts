import { newId } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Caller } from '../calls/types.ts'
import { followed } from '../calls/follow.ts'
import type { Followed } from '../calls/follow.ts'
import type { Grant } from '../calls/pipeline.ts'
import { unusable } from '../upstream/exchange.ts'
import { noTask } from './errors.ts'
import type { PushConfig } from './read.ts'
import type { TaskState } from './states.ts'

/** Whose a task is. Its id authenticates nobody: it is good on its owner's connections only. */
interface Owner {
  readonly instance: string
  /** For whom the caller acted when it was made; another's calls do not belong to it. */
  readonly subject: string | undefined
}

export interface Task {
  /** As callers know it. */
  readonly id: string
  readonly owner: Owner
  readonly system: string
  readonly contextId: string
  /** As the peer knows it. */
  readonly peerId: string
  /** The call that made it, or went on with it last: it is decided again with each follow-up. */
  before: Followed
  state: TaskState
  updated: number
  lastUsed: number
  readonly pushes: Map<string, Pick<PushConfig, 'url'>>
}

export interface TasksOptions {
  readonly clock: Clock
  readonly maxPerInstance: number
  readonly idleMs: number
}

/** The tasks that peers do for callers of this gateway, and the conversations they belong to. */
export class Tasks {
  readonly #options: TasksOptions
  readonly #tasks = new Map<string, Task>()
  /** System and peer's id → task. */
  readonly #byPeer = new Map<string, Task>()
  /** Owner, system and id → what the peer calls that conversation. Insertion order is that of use. */
  readonly #contexts = new Map<string, Map<string, string>>()

  constructor(options: TasksOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#tasks.size
  }

  /**
   * The task of that id, where it is this caller's.
   *
   * @throws Refusal `SP_A2A_TASK`
   */
  find(id: string, system: string, caller: Caller): Task {
    const task = this.#tasks.get(id)
    if (task?.system !== system || !isOwner(task.owner, caller)) throw noTask()
    const now = this.#options.clock.monotonic()
    if (now - task.lastUsed > this.#options.idleMs) {
      this.#forget(task)
      throw noTask()
    }
    task.lastUsed = now
    return task
  }

  /** The caller's own tasks with a system, the newest first. */
  own(system: string, caller: Caller): readonly Task[] {
    return [...this.#tasks.values()]
      .filter((task) => task.system === system && isOwner(task.owner, caller))
      .toSorted((a, b) => b.updated - a.updated || b.id.localeCompare(a.id))
  }

  /** What the peer calls a conversation of this caller's; undefined where it does not know it yet. */
  peerContext(system: string, caller: Caller, id: string | undefined): string | undefined {
    return id === undefined ? undefined : this.#contexts.get(keyOf(system, caller))?.get(id)
  }

  /**
   * Takes note of a task that a peer speaks of in its answer to a call.
   *
   * @param contextId what the caller calls the conversation; absent where it left that open
   * @throws Refusal `SP_UPSTREAM_RESPONSE` where it speaks of somebody else's, or of another skill's
   */
  note(grant: Grant, peer: { task: string; context: string }, contextId?: string): Task {
    const { caller, typed } = grant
    const system = typed.system.name
    const key = `${system}\n${peer.task}`
    const known = this.#byPeer.get(key)
    if (known && !isOwner(known.owner, caller)) throw unusable('the task is another caller’s')
    const now = this.#options.clock.monotonic()
    if (known) {
      // Its answers are decided and cut down as those of the skill that it was made by.
      if (known.before.call.operation !== grant.call.operation) {
        throw unusable('the task is of another skill')
      }
      known.before = followed(grant)
      known.lastUsed = now
      return known
    }
    this.#makeRoom(caller.instance, now)
    const task: Task = {
      id: newId('task'),
      owner: { instance: caller.instance, subject: caller.onBehalfOf?.subject },
      system,
      contextId: this.noteContext(grant, peer.context, contextId),
      peerId: peer.task,
      before: followed(grant),
      state: 'submitted',
      updated: this.#options.clock.now(),
      lastUsed: now,
      pushes: new Map(),
    }
    this.#tasks.set(task.id, task)
    this.#byPeer.set(key, task)
    return task
  }

  /** @returns what the caller calls the conversation that the peer calls `peer` */
  noteContext({ caller, typed }: Grant, peer: string, asked?: string): string {
    const key = keyOf(typed.system.name, caller)
    const contexts = this.#contexts.get(key) ?? new Map<string, string>()
    this.#contexts.delete(key)
    this.#contexts.set(key, contexts)
    let id = asked
    if (id === undefined) {
      for (const [own, theirs] of contexts) if (theirs === peer) id = own
      id ??= newId('ctx')
    }
    contexts.delete(id)
    contexts.set(id, peer)
    const { maxPerInstance } = this.#options
    const oldest = contexts.keys().next().value
    if (contexts.size > maxPerInstance && oldest !== undefined) contexts.delete(oldest)
    const stalest = this.#contexts.keys().next().value
    if (this.#contexts.size > MAX_CONVERSING && stalest !== undefined) {
      this.#contexts.delete(stalest)
    }
    return id
  }

  /** Forgets the tasks of an instance, or of every instance below a subject. */
  cut(subject: string): void {
    const below = (instance: string): boolean =>
      instance === subject || instance.startsWith(`${subject}/`)
    for (const task of this.#tasks.values()) if (below(task.owner.instance)) this.#forget(task)
    for (const key of this.#contexts.keys()) {
      if (below(key.slice(0, key.indexOf('\n')))) this.#contexts.delete(key)
    }
  }

  #makeRoom(instance: string, now: number): void {
    const own: Task[] = []
    for (const task of this.#tasks.values()) {
      if (now - task.lastUsed > this.#options.idleMs) this.#forget(task)
      else if (task.owner.instance === instance) own.push(task)
    }
    if (own.length < this.#options.maxPerInstance) return
    this.#forget(own.reduce((a, b) => (a.lastUsed <= b.lastUsed ? a : b)))
  }

  #forget(task: Task): void {
    this.#tasks.delete(task.id)
    this.#byPeer.delete(`${task.system}\n${task.peerId}`)
  }
}

/** Callers whose conversations are remembered at once. */
const MAX_CONVERSING = 4096

const isOwner = (owner: Owner, { instance, onBehalfOf }: Caller): boolean =>
  owner.instance === instance && owner.subject === onBehalfOf?.subject

const keyOf = (system: string, { instance, onBehalfOf }: Caller): string =>
  `${instance}\n${JSON.stringify([system, onBehalfOf?.subject ?? null])}`
