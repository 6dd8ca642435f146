import type { JsonValue } from '@sallyport/base'
import { MCP_LOG_LEVELS } from '@sallyport/network'
import { isObject } from '../adapters/jsonrpc.ts'
import type { RpcId } from '../adapters/jsonrpc.ts'
import type { Pipeline } from '../calls/pipeline.ts'
import { toRefusal } from '../refusal.ts'
import { ContentRelease } from './content.ts'
import type { JsonObject } from './content.ts'
import { again } from './kept.ts'
import type { Again } from './kept.ts'
import type { McpPins } from './pins.ts'
import type { QuestionContext, Questions } from './questions.ts'

/** Where something of a server's came in. */
export interface Channel extends QuestionContext {
  /** The call in whose stream it came. */
  readonly call?: {
    /** As it is decided now. */
    readonly now: Again
    readonly progressToken: RpcId | undefined
    /** Takes what the client was shown. */
    showed(released: ContentRelease['released']): void
  }
}

export interface ServerMessagesParts {
  readonly pipeline: Pipeline
  readonly questions: Questions
  readonly pins: McpPins
}

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
    const { call, session } = channel
    const tell = (shown: JsonObject, released: ContentRelease['released'] = {}): void => {
      if (channel.emit(JSON.stringify({ jsonrpc: '2.0', method, params: shown }))) {
        call?.showed(released)
      }
    }
    if (method === 'notifications/progress') {
      const { progressToken, progress, total } = params
      if (call?.progressToken === undefined || progressToken !== call.now.id) return
      if (typeof progress !== 'number') return
      const release = new ContentRelease(this.#parts.pipeline, call.now)
      const shown = {
        progressToken: call.progressToken,
        progress,
        ...(typeof total === 'number' ? { total } : {}),
        ...(await words(release, params['message'])),
      }
      tell(shown, release.released)
    } else if (method === 'notifications/message') {
      await this.#logged(channel, params, tell)
    } else if (method === 'notifications/resources/updated') {
      const { uri } = params
      const before = typeof uri === 'string' ? session.subscriptions.get(uri) : undefined
      if (typeof uri !== 'string' || !before) return
      try {
        again(this.#parts.pipeline, before)
      } catch (error) {
        if (toRefusal(error).status === 403) session.subscriptions.delete(uri)
        return
      }
      tell({ uri })
    }
  }

  async #logged(
    { session }: Channel,
    params: JsonObject,
    tell: (shown: JsonObject, released: ContentRelease['released']) => void,
  ): Promise<void> {
    const { level, logger, data } = params
    const { logging } = session
    const severity = typeof level === 'string' ? MCP_LOG_LEVELS.indexOf(level) : -1
    if (!logging || severity < logging.level || data === undefined) return
    const text = typeof data === 'string' ? data : JSON.stringify(data)
    const release = new ContentRelease(
      this.#parts.pipeline,
      again(this.#parts.pipeline, logging.by),
    )
    const [left] = await release.texts([text])
    if (left === undefined) return
    const named = typeof logger === 'string' && /^[\w./-]{1,64}$/.test(logger) ? { logger } : {}
    const shown = {
      level: MCP_LOG_LEVELS[severity] ?? 'info',
      ...named,
      data: left === text ? data : left,
    }
    tell(shown, release.released)
  }
}

async function words(
  release: ContentRelease,
  message: JsonValue | undefined,
): Promise<{ message?: string }> {
  if (typeof message !== 'string') return {}
  const [text] = await release.texts([message])
  return text === undefined ? {} : { message: text }
}
