import { createHmac, randomBytes } from 'node:crypto'
import type { JsonValue } from '@sallyport/base'
import { isObject } from '../adapters/jsonrpc.ts'
import type { Answers } from '../calls/answers.ts'
import type { Grant } from '../calls/pipeline.ts'
import { unusable } from '../upstream/exchange.ts'
import type { OutcomeRecord } from '@sallyport/wire'
import type { PeerArtifact, PeerEvent, PeerPart, PeerStatus } from './answers.ts'
import type { Task, Tasks } from './tasks.ts'
import type { ToldArtifact, ToldEvent, ToldStatus } from './tell.ts'

/** By what an answer is projected now: of a stream, that may be a newer decision than it began with. */
export type Current = Pick<Grant, 'id' | 'caller' | 'typed' | 'enforced' | 'outcome'>

export interface Shown {
  readonly event: ToldEvent
  readonly released: readonly OutcomeRecord['released'][]
}

/** Ids that a peer makes up could hold anything: what callers see instead is the same for the same, for as long as this runs. */
const key = randomBytes(32)

/** Cuts what peers say down to what may leave, and gives it ids that its caller knows. */
export class Show {
  readonly #answers: Answers
  readonly #tasks: Tasks
  readonly #now: () => number

  constructor(answers: Answers, tasks: Tasks, now: () => number) {
    this.#answers = answers
    this.#tasks = tasks
    this.#now = now
  }

  /**
   * Shows one event. When this resolves, the labels it carries are durable.
   *
   * @param grant the call that it answers
   * @param expected the task that it must be of; absent where the peer may make one
   * @throws Refusal `SP_UPSTREAM_RESPONSE`, `SP_AUDIT_UNAVAILABLE`, `SP_QUARANTINED`
   */
  async event(
    grant: Grant,
    current: Current,
    event: PeerEvent,
    expected: Task | undefined,
    contextId: string | undefined,
  ): Promise<Shown & { readonly task: Task | undefined }> {
    const task = this.taskOf(grant, event, expected, contextId)
    const released: OutcomeRecord['released'][] = []
    const show = async (parts: readonly PeerPart[]): Promise<PeerPart[]> => {
      const shown: PeerPart[] = []
      for (const part of parts) {
        const one = await this.#part(current, part, released)
        if (one) shown.push(one)
      }
      return shown
    }
    if (event.kind === 'message') {
      const parts = await show(event.parts)
      const context =
        task?.contextId ??
        (event.context === undefined
          ? contextId
          : this.#tasks.noteContext(grant, event.context, contextId))
      const told = { kind: 'message' as const, id: grant.id, task: task?.id, context }
      return { task, released, event: { ...told, parts: orEmpty(parts) } }
    }
    // INVARIANT: whatever is no message is of a task.
    if (!task) throw unusable('it is of no task')
    const ids = { task: task.id, context: task.contextId }
    const status = async (given: PeerStatus): Promise<ToldStatus> => {
      task.state = given.state
      task.updated = this.#now()
      const parts = await show(given.parts)
      const { state, timestamp } = given
      return {
        ...{ state, timestamp },
        ...(parts.length === 0 ? {} : { message: { id: grant.id, parts } }),
      }
    }
    const artifact = async (given: PeerArtifact): Promise<ToldArtifact> => ({
      id: `art_${createHmac('sha256', key).update(`${task.id} ${given.id}`).digest('base64url').slice(0, 22)}`,
      parts: orEmpty(await show(given.parts)),
    })
    switch (event.kind) {
      case 'task': {
        const artifacts: ToldArtifact[] = []
        for (const one of event.artifacts) artifacts.push(await artifact(one))
        const told = { kind: 'task' as const, ...ids, status: await status(event.status) }
        return { task, released, event: { ...told, artifacts } }
      }
      case 'status':
        return {
          task,
          released,
          event: { kind: 'status', ...ids, status: await status(event.status) },
        }
      case 'artifact': {
        const { append, last } = event
        const told = { kind: 'artifact' as const, ...ids, append, last }
        return { task, released, event: { ...told, artifact: await artifact(event.artifact) } }
      }
    }
  }

  /**
   * The task that an event is of, taken note of where it is new.
   *
   * @param expected the task that it must be of; absent where the peer may make one
   * @throws Refusal `SP_UPSTREAM_RESPONSE`
   */
  taskOf(
    grant: Grant,
    event: PeerEvent,
    expected: Task | undefined,
    contextId: string | undefined,
  ): Task | undefined {
    if (expected) {
      // Whatever it says of another one is not for who asked about this one.
      if (event.task !== undefined && event.task !== expected.peerId) {
        throw unusable('it is of another task')
      }
      return expected
    }
    if (event.kind === 'message') {
      if (event.task === undefined) return undefined
      const context = event.context ?? event.task
      return this.#tasks.note(grant, { task: event.task, context }, contextId)
    }
    return this.#tasks.note(grant, event, contextId)
  }

  async #part(
    current: Current,
    part: PeerPart,
    released: OutcomeRecord['released'][],
  ): Promise<PeerPart | undefined> {
    const projected = await this.#answers.release(current, part)
    released.push(projected.released)
    const { value } = projected
    if (!isObject(value)) return undefined
    const content = ['text', 'data', 'raw', 'url'].find((name) => value[name] !== undefined)
    if (content === undefined) return undefined
    // What is public has no label of its own, and may be the words of anybody all the same.
    await this.#answers.commitLabels(current)
    const { binding } = current.typed.operation
    const { mediaType } = part
    const known =
      binding.kind === 'a2a' &&
      typeof mediaType === 'string' &&
      binding.outputModes.includes(mediaType)
    return { ...value, ...(known ? { mediaType } : {}) }
  }
}

/** A message and an artifact have at least one part (A2A 1.0, sections 4.1.4 and 4.1.7). */
const orEmpty = (parts: readonly PeerPart[]): readonly PeerPart[] =>
  parts.length > 0 ? parts : [{ data: {} satisfies JsonValue }]
