import { newId } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Caller } from '../calls/types.ts'
import { followed } from '../calls/follow.ts'
import type { Followed } from '../calls/follow.ts'
import type { Grant } from '../calls/pipeline.ts'
import { unusable } from '../upstream/exchange.ts'
import { noTask } from './errors.ts'
import type { GatewaySettings } from '../settings.ts'
import { Pushes } from './pushes.ts'
import type { Push } from './pushes.ts'
import { Shares } from '../state/shares.ts'
import type { TaskState } from './states.ts'

/** Whose a task is. Its id authenticates nobody: it is good on its owner's connections only. */
interface Owner {
  readonly instance: string
  /** What it counts against: instances of another trust domain are named by it as it likes, and share one. */
  readonly session: string
  /** For whom the caller acted when it was made; another's calls do not belong to it. */
  readonly subject: string | undefined
}

/** Of a caller, what tasks are kept by. */
type Holder = Pick<Caller, 'instance' | 'session' | 'onBehalfOf'>

/** Of a granted call, what a task is noted by. */
type Noted = Pick<Grant, 'call' | 'mandate'> & { readonly caller: Holder }

interface Conversation {
  readonly instance: string
  readonly system: string
  readonly subject: string | undefined
  /** As its caller knows it, and as the peer does. */
  readonly id: string
  readonly theirs: string
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
  readonly before: Followed
  state: TaskState
  updated: number
  lastUsed: number
  readonly pushes: Map<string, Push>
}

export interface TasksOptions {
  readonly clock: Clock
  /** Of one session, and as many conversations. */
  readonly maxPerSession: number
  readonly maxTotal: number
  /** Of what the calls said that the tasks of one session were made by, and all tasks. */
  readonly maxBytesPerSession: number
  readonly maxBytes: number
  readonly idleMs: number
  readonly pushes: Pushes
}

/** The tasks that peers do for callers of this gateway, and the conversations they belong to. */
export class Tasks {
  readonly pushes: Pushes
  readonly #options: TasksOptions
  readonly #tasks = new Map<string, Kept>()
  /** System and peer's id → task. */
  readonly #byPeer = new Map<string, Kept>()
  readonly #shares: Shares<Kept>
  /** Session → whose, with which system, and by which id → what the peer calls that conversation. */
  readonly #contexts: Shares<Conversation>

  constructor(options: TasksOptions) {
    this.#options = options
    this.pushes = options.pushes
    const { maxPerSession: max, maxTotal, maxBytesPerSession, maxBytes } = options
    this.#shares = new Shares({
      ...{ max, maxTotal, maxWeight: maxBytesPerSession, maxTotalWeight: maxBytes },
    })
    this.#contexts = new Shares({ max, maxTotal })
  }

  get size(): number {
    return this.#tasks.size
  }

  /**
   * The task of that id, where it is this caller's.
   *
   * @throws Refusal `SP_A2A_TASK`
   */
  find(id: string, system: string, caller: Holder): Task {
    const task = this.#tasks.get(id)
    if (task?.system !== system || !isOwner(task.owner, caller)) throw noTask()
    const now = this.#options.clock.monotonic()
    if (now - task.lastUsed > this.#options.idleMs) {
      this.#forget(task)
      throw noTask()
    }
    this.#touch(task, now)
    return task
  }

  /** The caller's own tasks with a system, the newest first. */
  own(system: string, caller: Holder): readonly Task[] {
    return [...this.#tasks.values()]
      .filter((task) => task.system === system && isOwner(task.owner, caller))
      .toSorted((a, b) => b.updated - a.updated || b.id.localeCompare(a.id))
  }

  /** What the peer calls a conversation of this caller's; undefined where it does not know it yet. */
  peerContext(system: string, caller: Holder, id: string | undefined): string | undefined {
    if (id === undefined) return undefined
    return this.#contexts.of(caller.session).get(keyOf(system, caller, id))?.theirs
  }

  /**
   * Takes note of a task that a peer speaks of in its answer to a call.
   *
   * @param contextId what the caller calls the conversation; absent where it left that open
   * @throws Refusal `SP_UPSTREAM_RESPONSE` where it speaks of somebody else's, or of another skill's
   */
  note(grant: Noted, peer: { task: string; context: string }, contextId?: string): Task {
    const { caller, call } = grant
    const { system } = call
    const key = `${system}\n${peer.task}`
    const known = this.#byPeer.get(key)
    if (known && !isOwner(known.owner, caller)) throw unusable('the task is another caller’s')
    const now = this.#options.clock.monotonic()
    if (known) {
      // Its answers are decided and cut down as those of the skill that it was made by.
      if (known.before.call.operation !== call.operation) {
        throw unusable('the task is of another skill')
      }
      this.#follows(known, grant)
      this.#touch(known, now)
      return known
    }
    for (const task of this.#tasks.values()) {
      if (now - task.lastUsed > this.#options.idleMs) this.#forget(task)
    }
    const before = followed(grant)
    const task: Kept = {
      id: newId('task'),
      owner: {
        ...{ instance: caller.instance, session: caller.session },
        subject: caller.onBehalfOf?.subject,
      },
      system,
      contextId: this.noteContext(grant, peer.context, contextId),
      peerId: peer.task,
      before,
      bytes: bytesOf(before),
      state: 'submitted',
      updated: this.#options.clock.now(),
      lastUsed: now,
      pushes: new Map(),
    }
    this.#tasks.set(task.id, task)
    this.#byPeer.set(key, task)
    this.#touch(task, now)
    return task
  }

  /** A call that a task went on by: what follows is decided on that one. */
  wentOn(task: Task, grant: Noted): void {
    const kept = this.#tasks.get(task.id)
    if (!kept) return
    this.#follows(kept, grant)
    this.#touch(kept, this.#options.clock.monotonic())
  }

  #follows(task: Kept, grant: Noted): void {
    task.before = followed(grant)
    task.bytes = bytesOf(task.before)
  }

  /** @returns what the caller calls the conversation that the peer calls `peer` */
  noteContext({ caller, call }: Noted, peer: string, asked?: string): string {
    const { instance, session, onBehalfOf } = caller
    const own = { instance, system: call.system, subject: onBehalfOf?.subject }
    let id = asked
    if (id === undefined) {
      for (const known of this.#contexts.of(session).values()) {
        if (known.theirs === peer && isSame(known, own)) ({ id } = known)
      }
      id ??= newId('ctx')
    }
    this.#contexts.set(session, keyOf(call.system, caller, id), { ...own, id, theirs: peer })
    return id
  }

  /** Forgets the tasks of an instance, or of every instance below a subject. */
  cut(subject: string): void {
    const below = (instance: string): boolean =>
      instance === subject || instance.startsWith(`${subject}/`)
    for (const task of this.#tasks.values()) if (below(task.owner.instance)) this.#forget(task)
    for (const session of [...this.#contexts.holders]) {
      for (const [key, { instance }] of [...this.#contexts.of(session)]) {
        if (below(instance)) this.#contexts.delete(session, key)
      }
    }
  }

  #touch(task: Kept, now: number): void {
    task.lastUsed = now
    const { owner, id, bytes } = task
    for (const gone of this.#shares.set(owner.session, id, task, bytes)) this.#forget(gone)
  }

  #forget(task: Kept): void {
    this.pushes.clear(task)
    this.#shares.delete(task.owner.session, task.id)
    this.#tasks.delete(task.id)
    this.#byPeer.delete(`${task.system}\n${task.peerId}`)
  }
}

/** As a gateway keeps them. */
export const tasksOf = (settings: GatewaySettings, clock: Clock): Tasks =>
  new Tasks({
    clock,
    maxPerSession: settings.maxA2aTasksPerInstance,
    maxTotal: settings.maxA2aTasks,
    maxBytesPerSession: settings.maxA2aTaskBytesPerInstance,
    maxBytes: settings.maxA2aTaskBytes,
    idleMs: settings.a2aTaskIdleMs,
    pushes: new Pushes({
      clock,
      maxPerTask: settings.maxA2aPushesPerTask,
      maxPerSession: settings.maxA2aPushesPerInstance,
      maxTotal: settings.maxA2aPushes,
    }),
  })

/** A task as it is kept here. */
interface Kept extends Task {
  before: Followed
  /** Of what is kept of the call: the input is as long as its caller made it. */
  bytes: number
}

const bytesOf = ({ call }: Followed): number => Buffer.byteLength(JSON.stringify(call))

const isOwner = (owner: Owner, { instance, onBehalfOf }: Holder): boolean =>
  owner.instance === instance && owner.subject === onBehalfOf?.subject

const keyOf = (system: string, { instance, onBehalfOf }: Holder, id: string): string =>
  JSON.stringify([instance, system, onBehalfOf?.subject ?? null, id])

const isSame = (
  one: Conversation,
  other: Pick<Conversation, 'instance' | 'system' | 'subject'>,
): boolean =>
  one.instance === other.instance && one.system === other.system && one.subject === other.subject
