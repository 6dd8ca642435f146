import type { JsonValue } from '@sallyport/base'
import { isObject } from '../adapters/jsonrpc.ts'
import type { RpcId } from '../adapters/jsonrpc.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { ContentRelease } from './content.ts'
import type { JsonObject } from './content.ts'
import type { McpPins } from './pins.ts'
import type { QuestionContext, Questions } from './questions.ts'

/** Where something of a server's came in. */
export interface Channel extends QuestionContext {
  /** The call in whose stream it came. */
  readonly call?: { readonly grant: Grant; readonly progressToken: RpcId | undefined }
}

export interface ServerMessagesParts {
  readonly pipeline: Pipeline
  readonly questions: Questions
  readonly pins: McpPins
}

/** Least severe first (RFC 5424 turned around). */
export const LEVELS: readonly string[] = [
  'debug',
  'info',
  'notice',
  'warning',
  'error',
  'critical',
  'alert',
  'emergency',
]

/** What servers send beside answers: passed on where the client asked for it and may still have it, dropped otherwise. */
export class ServerMessages {
  readonly #parts: ServerMessagesParts

  constructor(parts: ServerMessagesParts) {
    this.#parts = parts
  }

  /** Never rejects. Resolves when the client was told, whatever it then does. */
  async handle(channel: Channel, message: JsonObject): Promise<void> {
    const { method, id, params } = message
    // A response to nothing that we asked.
    if (typeof method !== 'string') return
    try {
      if (id !== undefined) await this.#parts.questions.ask(channel, message)
      else if (method.endsWith('/list_changed')) this.#parts.pins.forget(channel.session)
      else if (isObject(params)) await this.#notification(channel, method, params)
    } catch {
      // What cannot be decided, projected or recorded does not go on.
    }
  }

  async #notification(channel: Channel, method: string, params: JsonObject): Promise<void> {
    const { session } = channel
    const tell = (shown: JsonObject): void => {
      channel.emit(JSON.stringify({ jsonrpc: '2.0', method, params: shown }))
    }
    if (method === 'notifications/progress') {
      const { call } = channel
      const { progressToken, progress, total } = params
      if (call?.progressToken === undefined || progressToken !== call.grant.id) return
      if (typeof progress !== 'number') return
      tell({
        progressToken: call.progressToken,
        progress,
        ...(typeof total === 'number' ? { total } : {}),
        ...(await this.#words(call.grant, params['message'])),
      })
    } else if (method === 'notifications/message') {
      const shown = await this.#logged(channel, params)
      if (shown) tell(shown)
    } else if (method === 'notifications/resources/updated') {
      const { uri } = params
      const grant = typeof uri === 'string' ? session.subscriptions.get(uri) : undefined
      if (typeof uri !== 'string' || !grant) return
      if (this.#parts.pipeline.redecide(grant).outcome.decision === 'allow') tell({ uri })
      else session.subscriptions.delete(uri)
    }
  }

  async #words(grant: Grant, message: JsonValue | undefined): Promise<JsonObject> {
    if (typeof message !== 'string') return {}
    const [text] = await new ContentRelease(this.#parts.pipeline, grant).texts([message])
    return text === undefined ? {} : { message: text }
  }

  async #logged({ session }: Channel, params: JsonObject): Promise<JsonObject | undefined> {
    const { pipeline } = this.#parts
    const { level, logger, data } = params
    const { logging } = session
    const severity = typeof level === 'string' ? LEVELS.indexOf(level) : -1
    if (!logging || severity < logging.level || data === undefined) return undefined
    const { enforced, outcome } = pipeline.redecide(logging.grant)
    if (outcome.decision !== 'allow') return undefined
    const text = typeof data === 'string' ? data : JSON.stringify(data)
    const release = new ContentRelease(pipeline, { ...logging.grant, enforced, outcome })
    const [left] = await release.texts([text])
    if (left === undefined) return undefined
    const named = typeof logger === 'string' && /^[\w./-]{1,64}$/.test(logger) ? { logger } : {}
    return { level: LEVELS[severity] ?? 'info', ...named, data: left === text ? data : left }
  }
}
