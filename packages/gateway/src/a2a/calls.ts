import type { JsonValue } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { A2aSystem, A2aVersion, System } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import { readRpc, rpcResult } from '../adapters/jsonrpc.ts'
import type { RpcRequest } from '../adapters/jsonrpc.ts'
import type { FollowUps } from '../calls/follow.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { sendJson } from '../edge/answer.ts'
import { readJsonBody } from '../edge/body.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { BareContext, RequestContext } from '../serve/context.ts'
import { callFailed } from '../serve/failed.ts'
import { noOperation } from '../serve/http.ts'
import { typedInput } from '../serve/typed.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Stats } from '../stats.ts'
import { peerRequest } from './ask.ts'
import type { Ask } from './ask.ts'
import { a2aError, badMessage, noTask } from './errors.ts'
import { ownCard, skillsOf } from './own-card.ts'
import type { SkillOperation } from './own-card.ts'
import type { Peers } from './peers.ts'
import { PATH, placeOf, versionOf } from './place.ts'
import { demandPush } from './push.ts'
import type { Push } from './pushes.ts'
import { readAsked } from './read.ts'
import type { Asked, PushConfig, SaidMessage } from './read.ts'
import type { Task, Tasks } from './tasks.ts'
import { written, writtenPush } from './tell.ts'

export interface A2aParts {
  readonly pipeline: Pipeline
  readonly followUps: FollowUps
  readonly peers: Peers
  readonly tasks: Tasks
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
  readonly stats: Stats
}

/** One request, and where its answer goes. */
interface Turn {
  readonly context: RequestContext
  readonly system: System
  readonly a2a: A2aSystem
  readonly version: A2aVersion
  readonly rpc: RpcRequest
  /** The skill that the URL names. */
  readonly skill: string | undefined
}

type Send = Asked & { readonly kind: 'send' }

/** Agents behind the gateway (A2A 1.0 and 0.3, JSON-RPC): `POST /SYSTEM/a2a`, or `/SYSTEM/a2a/OPERATION` for one skill alone. */
export class A2aCalls {
  readonly #parts: A2aParts

  constructor(parts: A2aParts) {
    this.#parts = parts
  }

  /** @throws Refusal for whatever is no JSON-RPC request that could be answered as one */
  async serve(context: RequestContext, system: System): Promise<void> {
    const { request, res, req } = context
    const { a2a } = system
    if (!a2a || request.target.query.size > 0) throw noOperation()
    const place = placeOf(request.target.segments)
    if (!place) throw noOperation()
    const { skill } = place
    if (place.card) {
      if (request.method !== 'GET') throw wrongMethod('GET')
      this.#card(context, system, a2a, skill)
      return
    }
    if (request.method !== 'POST') throw wrongMethod('POST')
    const { maxBodyBytes } = this.#parts.settings
    const rpc = readRpc(await readJsonBody(req, request, maxBodyBytes), 'SP_A2A_MESSAGE')
    if (rpc.kind === 'notification') throw badMessage('it has no `id`')
    const turn = { context, system, a2a, rpc, skill, version: versionOf(context) }
    try {
      const version = turn.version
      if (version === undefined) {
        throw new Refusal('SP_A2A_VERSION', 'this revision of A2A is not spoken', { status: 400 })
      }
      const asked = readAsked(version, rpc)
      await this.#answer({ ...turn, version }, asked)
    } catch (error) {
      const refusal = toRefusal(error)
      const { pipeline } = this.#parts
      const decision =
        refusal.decision ?? (await pipeline.refuseUntyped(context.caller, refusal, system.name))
      tellError(res, rpc, refusal, decision)
    }
  }

  /**
   * Tells of a refusal that came before any message was read, as the answer to the message.
   *
   * @throws Refusal the same, for whatever is no request that could be answered
   */
  async refuse(context: BareContext, system: System, refusal: Refusal): Promise<void> {
    const { request, req, res, caller } = context
    const place = placeOf(request.target.segments)
    if (request.method !== 'POST' || !place || place.card) throw refusal
    let rpc: RpcRequest
    try {
      const { maxBodyBytes } = this.#parts.settings
      const read = readRpc(await readJsonBody(req, request, maxBodyBytes), 'SP_A2A_MESSAGE')
      if (read.kind === 'notification') throw refusal
      rpc = read
    } catch {
      throw refusal
    }
    const decision = await this.#parts.pipeline.refuseUntyped(caller, refusal, system.name)
    tellError(res, rpc, refusal, decision)
  }

  async #answer(turn: Turn, asked: Asked): Promise<void> {
    switch (asked.kind) {
      case 'send':
        await this.#send(turn, asked)
        return
      case 'get':
      case 'cancel':
      case 'subscribe':
        await this.#follow(turn, this.#task(turn, asked.task), { ...asked })
        return
      case 'list':
        this.#list(turn, asked)
        return
      case 'push-set':
        await this.#push(turn, this.#task(turn, asked.task), asked.push)
        return
      case 'push-delete':
        await this.#unpush(turn, this.#task(turn, asked.task), asked.id)
        return
      case 'push-get':
      case 'push-list':
        this.#pushes(turn, this.#task(turn, asked.task), asked)
        return
      case 'card':
        throw new Refusal('SP_A2A_UNSUPPORTED', 'there is no other card', { status: 404 })
    }
  }

  #card(context: RequestContext, system: System, a2a: A2aSystem, only: string | undefined): void {
    const { request, res } = context
    const skills = this.#reachable(context, system, only)
    if (skills.length === 0) throw noOperation()
    const version = versionOf(context)
    if (version === undefined) {
      throw new Refusal('SP_A2A_VERSION', 'this revision of A2A is not spoken', { status: 400 })
    }
    const host = request.headers.all.get('host') ?? ''
    const path = [system.name, PATH, ...(only === undefined ? [] : [only])].join('/')
    const card = ownCard(a2a, skills, `https://${host}/${path}`, version)
    sendJson(res, { status: 200, body: JSON.stringify(card) })
  }

  /** The skills that some flow leads the caller to. */
  #reachable(
    { enforced, caller }: RequestContext,
    system: System,
    only: string | undefined,
  ): SkillOperation[] {
    const { index } = enforced.decider
    return skillsOf(system).filter(
      ({ name }) =>
        (only === undefined || name === only) && index.findFlow(caller.agent, system.name, name),
    )
  }

  #task({ context, system, skill }: Turn, id: string): Task {
    const task = this.#parts.tasks.find(id, system.name, context.caller)
    if (skill !== undefined && task.before.call.operation !== skill) throw noTask()
    return task
  }

  async #send(turn: Turn, asked: Send): Promise<void> {
    const { pipeline, tasks, peers } = this.#parts
    const { context, system, a2a } = turn
    const { caller, enforced, request } = context
    const { message, stream, wait } = asked
    if (stream && !a2a.streaming) {
      throw new Refusal('SP_A2A_UNSUPPORTED', 'the agent sends no streams', { status: 400 })
    }
    const task = message.taskId === undefined ? undefined : this.#task(turn, message.taskId)
    if (task && message.contextId !== undefined && message.contextId !== task.contextId)
      throw noTask()
    const references = message.references.map((id) => this.#task(turn, id).peerId)
    const operation = this.#operation(turn, message, task)
    const push = asked.push && demandPush(a2a, asked.push)
    const contextId = task?.contextId ?? message.contextId
    const input = this.#input(context, system, operation, message)
    const ask = {
      ...{ kind: 'send' as const, stream, wait, binding: operation.binding },
      ...{ input, references, push },
      taskId: task?.peerId,
      contextId: tasks.peerContext(system.name, caller, contextId),
    }
    const room = push && tasks.pushes.room(caller.session, task, push)
    try {
      const grant = await pipeline.authorise(
        enforced,
        caller,
        {
          ...{ system, operation, input },
          upstream: (decision) => peerRequest(system, a2a.speaks, decision, ask),
          meanwhile: (going) => {
            peers.prepare(going)
          },
        },
        {
          approval: message.approval ?? request.headers.approval,
          mandate: message.mandate ?? request.headers.mandate,
        },
      )
      await this.#within(turn, grant, async () => {
        const { rpc, version } = turn
        const about = { task, contextId, room }
        await peers.ask({ context, grant, a2a, ...about, stream, sends: true, rpc, version })
      })
    } finally {
      room?.settle()
    }
  }

  /** What is said, as the skill takes it: its text in the member declared for it, the members of its object beside. */
  #input(
    { enforced, caller }: RequestContext,
    system: System,
    operation: SkillOperation,
    { text, data }: SaidMessage,
  ): Record<string, CedarJson> {
    const { tokeniser } = this.#parts
    const { text: into } = operation.binding
    return typedInput(enforced, caller.agent, system, operation, tokeniser, () => {
      const members: Record<string, JsonValue> = { ...data }
      if (text === undefined) return members
      if (into === undefined) throw badMessage('the skill takes no text')
      if (Object.hasOwn(members, into)) throw badMessage(`\`${into}\` stands twice`)
      return { ...members, [into]: text }
    })
  }

  /** The skill that is meant: by the URL, the message or the task, or the only one there is. */
  #operation(turn: Turn, { skill }: SaidMessage, task: Task | undefined): SkillOperation {
    const { context, system } = turn
    const meant = skillsOf(system).filter(
      ({ name, binding }) =>
        (turn.skill === undefined || name === turn.skill) &&
        (skill === undefined || binding.skill === skill) &&
        (task === undefined || name === task.before.call.operation),
    )
    const named = turn.skill !== undefined || skill !== undefined || task !== undefined
    const all = named
      ? meant
      : this.#reachable(context, system, undefined).filter(({ name }) =>
          meant.some((one) => one.name === name),
        )
    const [only, ...more] = all
    if (only && more.length === 0) return only
    if (!only) throw noOperation()
    throw badMessage('it does not say which skill is meant (`metadata.skillId`)')
  }

  async #follow(
    turn: Turn,
    task: Task,
    { kind }: { readonly kind: 'get' | 'cancel' | 'subscribe' },
  ): Promise<void> {
    const { peers } = this.#parts
    const { context, a2a } = turn
    const stream = kind === 'subscribe'
    if (stream && !a2a.streaming) {
      throw new Refusal('SP_A2A_UNSUPPORTED', 'the agent sends no streams', { status: 400 })
    }
    const grant = await this.#again(turn, task, { kind, task: task.peerId })
    await this.#within(turn, grant, async () => {
      const { rpc, version } = turn
      const about = { task, contextId: task.contextId, room: undefined }
      await peers.ask({ context, grant, a2a, ...about, stream, sends: false, rpc, version })
    })
  }

  #again({ context, system, a2a }: Turn, task: Task, ask: Ask): Promise<Grant> {
    return this.#parts.followUps.authorise(task.before, context.caller, (decision) =>
      peerRequest(system, a2a.speaks, decision, ask),
    )
  }

  async #within({ context }: Turn, grant: Grant, act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (error) {
      throw callFailed(this.#parts, grant, error, context.signal)
    }
  }

  #list({ context, system, version, rpc, skill }: Turn, asked: Asked & { kind: 'list' }): void {
    const reachable = new Set(this.#reachable(context, system, skill).map(({ name }) => name))
    const all = this.#parts.tasks
      .own(system.name, context.caller)
      .filter(
        ({ contextId, state, before }) =>
          reachable.has(before.call.operation) &&
          (asked.contextId === undefined || contextId === asked.contextId) &&
          (asked.state === undefined || state === asked.state),
      )
    const from =
      asked.pageToken === undefined ? 0 : all.findIndex(({ id }) => id === asked.pageToken)
    if (from < 0) throw badMessage('`pageToken` is none')
    const page = all.slice(from, from + asked.pageSize)
    const tasks = page.map(({ id, contextId, state, updated }) =>
      written(
        {
          ...{ kind: 'task' as const, task: id, context: contextId, artifacts: [] },
          status: { state, timestamp: new Date(updated).toISOString() },
        },
        version,
        false,
      ),
    )
    const nextPageToken = all[from + asked.pageSize]?.id ?? ''
    const result = { tasks, nextPageToken, pageSize: page.length, totalSize: all.length }
    sendJson(context.res, { status: 200, body: rpcResult(rpc.id, result) })
  }

  async #push(turn: Turn, task: Task, config: PushConfig): Promise<void> {
    const { peers, tasks } = this.#parts
    const { a2a, context, rpc, version } = turn
    const push = demandPush(a2a, config)
    const room = tasks.pushes.room(context.caller.session, task, push)
    try {
      const grant = await this.#again(turn, task, { kind: 'push-set', task: task.peerId, push })
      await this.#within(turn, grant, async () => {
        await peers.told(grant, a2a, context.signal)
        room.settle(task)
        const body = rpcResult(rpc.id, writtenPush(task.id, push.id, push, version))
        peers.finished(grant, context.res, body)
      })
    } finally {
      room.settle()
    }
  }

  async #unpush(turn: Turn, task: Task, id: string): Promise<void> {
    const { peers, tasks } = this.#parts
    const { a2a, context, rpc } = turn
    if (!task.pushes.has(id)) throw noTask()
    const grant = await this.#again(turn, task, { kind: 'push-delete', task: task.peerId, id })
    await this.#within(turn, grant, async () => {
      await peers.told(grant, a2a, context.signal)
      tasks.pushes.delete(task, id)
      peers.finished(grant, context.res, rpcResult(rpc.id, null))
    })
  }

  /** As set by the caller itself: what the peer says of it adds nothing. */
  #pushes(
    { context, rpc, version }: Turn,
    task: Task,
    asked: Extract<Asked, { kind: 'push-get' | 'push-list' }>,
  ): void {
    const tell = (id: string, push: Push): unknown => writtenPush(task.id, id, push, version)
    let result: unknown
    if (asked.kind === 'push-get') {
      const push = task.pushes.get(asked.id)
      if (!push) throw noTask()
      result = tell(asked.id, push)
    } else {
      const configs = [...task.pushes].map(([id, push]) => tell(id, push))
      result = version === '1.0' ? { configs, nextPageToken: '' } : configs
    }
    sendJson(context.res, { status: 200, body: rpcResult(rpc.id, result) })
  }
}

function tellError(
  res: RequestContext['res'],
  { id }: RpcRequest,
  refusal: Refusal,
  decision: string,
): void {
  if (res.headersSent || res.destroyed) {
    res.destroy()
    return
  }
  const body = JSON.stringify({ jsonrpc: '2.0', id, error: a2aError(refusal, decision) })
  sendJson(res, { status: 200, body })
}

const wrongMethod = (method: 'GET' | 'POST'): Refusal =>
  new Refusal('SP_REQUEST_METHOD', `this place takes ${method} only`, { status: 405 })
