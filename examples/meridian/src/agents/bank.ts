import { createClient, createPatience, RefusedError } from '@sallyport/agent'
import type { AgentClient, CallAnswer, Identity, McpClient, Patience } from '@sallyport/agent'
import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { count, target } from '../env.ts'
import { failureCode } from '../events.ts'
import type { Emit } from '../events.ts'

export type JsonObject = { readonly [key: string]: JsonValue }

/** Outcomes that policy decided: expected, and no failure of the fabric. What a limit refuses is done later, or failed. */
const POLICY_OUTCOMES = new Set(['forbidden', 'not-permitted', 'error', 'needs'])

/** The bank as one agent reaches it: everything through the gateway, every failure said aloud. */
export class Bank {
  readonly identity: Identity
  readonly emit: Emit
  readonly #client: AgentClient
  readonly #patience: Patience
  readonly #stop: AbortSignal
  readonly #approvalMs: number
  /** One a system, so that a session is opened once and not for every call. */
  readonly #tools = new Map<string, McpClient>()

  #calls = 0

  /** @param stop ends every wait for a limit or a person */
  constructor(identity: Identity, emit: Emit, stop: AbortSignal) {
    this.identity = identity
    this.emit = emit
    this.#stop = stop
    this.#patience = createPatience({ signal: stop })
    this.#client = createClient({ identity, gateway: target('SALLYPORT_GATEWAY') })
    this.#approvalMs = 1000 * count('MERIDIAN_APPROVAL_SECONDS', 900)
  }

  /** A GET on a system. Absent parameters are left out. */
  get(path: string, query: Readonly<Record<string, string | undefined>> = {}): Promise<JsonObject> {
    const given = Object.entries(query).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    )
    return this.#call(path, `GET ${kindOf(path)}`, async () => {
      const answer = await this.#client.request({
        method: 'GET',
        path,
        query: Object.fromEntries(given),
      })
      return bodyOf(answer)
    })
  }

  /** A GET that is made once, whatever comes of it, and not counted as a failure: the attack's. */
  async once(path: string, query: Readonly<Record<string, string>>): Promise<JsonObject> {
    return bodyOf(await this.#client.request({ method: 'GET', path, query }))
  }

  /** @param lane calls of one lane wait for each other where a limit puts one off; those of others go on */
  post(path: string, body: JsonObject, approval?: string, lane = ''): Promise<JsonObject> {
    // Who has an approval asks no question any more, and waits for no answer to one.
    const limited = `POST ${kindOf(path)} ${approval === undefined ? lane : 'approved'}`
    return this.#call(path, limited, async () => {
      const answer = await this.#client.request({
        method: 'POST',
        path,
        body,
        ...(approval === undefined ? {} : { approval }),
      })
      return bodyOf(answer)
    })
  }

  /** A tool of an MCP system; its structured content. */
  tool(system: string, name: string, input: JsonObject, approval?: string): Promise<JsonObject> {
    const what = `${system}.${name}`
    const limited = approval === undefined ? what : `${what} approved`
    return this.#call(what, limited, async () => {
      const client = this.#tools.get(system) ?? this.#client.mcp(system)
      this.#tools.set(system, client)
      const options = approval === undefined ? {} : { approval }
      const { isError, structuredContent } = await client.callTool(name, input, options)
      if (isError) throw answered(`the tool \`${name}\` failed`)
      return expectObject(structuredContent)
    })
  }

  /**
   * Makes a call that may need a person: on *needs*, waits for the approval and makes the very same call with it.
   * Resolves to undefined where it was denied or nobody decided in time.
   */
  async withApproval(
    what: string,
    facts: JsonObject,
    call: (approval?: string) => Promise<JsonObject>,
  ): Promise<JsonObject | undefined> {
    try {
      return await call()
    } catch (error) {
      const approval = approvalOf(error)
      if (approval === undefined) throw error
      this.emit(`${what}-waiting`, { ...facts, approval })
      const status = await this.#client.awaitApproval(approval, {
        timeoutMs: this.#approvalMs,
        signal: this.#stop,
      })
      this.emit(`${what}-decided`, { ...facts, approval, status })
      return status === 'approved' ? await call(approval) : undefined
    }
  }

  /** Whether this agent was told to stop: what it has not begun yet is left undone. */
  get stopping(): boolean {
    return this.#stop.aborted
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  /** Makes a call, again and again where a limit puts it off, and says what became of it. */
  async #call(what: string, limited: string, run: () => Promise<JsonObject>): Promise<JsonObject> {
    const call = ++this.#calls
    let putOffAt: number | undefined
    const resumed = (): void => {
      if (putOffAt === undefined) return
      this.emit('call-resumed', { call, what, waitedMs: Math.round(performance.now() - putOffAt) })
    }
    try {
      const result = await this.#patience.run(limited, run, ({ error, waitMs }) => {
        putOffAt ??= performance.now()
        const dueAt = Math.ceil(Date.now() + waitMs)
        this.emit('call-put-off', { call, what, code: error.code, dueAt })
      })
      resumed()
      return result
    } catch (error) {
      if (this.#stop.aborted) throw error
      // Policy has the last word on a call whose limit had room at last.
      if (error instanceof RefusedError && POLICY_OUTCOMES.has(error.outcome)) resumed()
      else this.emit('failed-call', { call, what, code: failureCode(error) })
      throw error
    }
  }
}

/** A path without the ids in it: what is limited together. */
const kindOf = (path: string): string =>
  path
    .split('/')
    .map((part) => (/[_0-9]/.test(part) && !/^v\d+$/.test(part) ? '*' : part))
    .join('/')

/** The approval that a refusal says is needed. */
export function approvalOf(error: unknown): string | undefined {
  if (!(error instanceof RefusedError) || error.outcome !== 'needs') return undefined
  return error.needs?.find((need) => need.kind === 'approval')?.approval
}

const answered = (message: string): SallyportError =>
  new SallyportError('SP_MERIDIAN_ANSWER', message, { fix: 'Look at what the service said.' })

/** The body of a success; a service's own refusal is an error. */
function bodyOf({ status, body }: CallAnswer): JsonObject {
  if (status >= 400) throw answered(`the service answered with status ${status}`)
  return expectObject(body)
}

function expectObject(value: unknown): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw answered('the answer is not an object')
  }
  // Parsed by the client's strict JSON parser, so every member is a JSON value.
  return value as JsonObject
}

/** A member that is a list of objects; anything else is no entry. */
export function objects(from: JsonObject, name: string): JsonObject[] {
  const value = from[name]
  return Array.isArray(value) ? value.filter(isObject) : []
}

const isObject = (value: JsonValue): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A member that is an object, or an empty one. */
export function object(from: JsonObject, name: string): JsonObject {
  const value = from[name]
  return value !== undefined && isObject(value) ? value : {}
}

/** A string member; empty where it is absent or was withheld. */
export function word(from: JsonObject, name: string): string {
  const value = from[name]
  return typeof value === 'string' ? value : ''
}

/** The strings of a list member. */
export function words(from: JsonObject, name: string): string[] {
  const value = from[name]
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}
