import type { JsonValue } from '@sallyport/base'
import { MANDATE_ID } from '@sallyport/wire'
import { isObject } from '../adapters/jsonrpc.ts'
import type { McpSession } from '../adapters/mcp-sessions.ts'
import type { Presented } from '../calls/pipeline.ts'
import type { Ending } from '../edge/ending.ts'
import type { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { JsonObject } from './content.ts'
import { MAX_QUESTIONS } from './questions.ts'

/** Where the person is who may have what a call needs. */
export interface Asking {
  readonly session: McpSession
  /** Aborts when nobody waits for the call any more. */
  readonly signal: Ending
  /** Tells the client. @returns false where it does not listen */
  emit(message: string): boolean
}

interface Form {
  readonly message: string
  readonly properties: JsonObject
  /** @returns what to present with the call; undefined where that is nothing */
  read(content: JsonObject): Partial<Presented> | undefined
}

/**
 * Asks the person behind a client for what a refused call needs (MCP 2025-11-25, client/elicitation), by a form.
 *
 * Nothing that is answered is evidence: evidence is what others signed. The answer only names it, as the caller itself might have
 * with the call, or says that it is there by now; the call is decided anew, and what is named is verified then.
 */
export class Remedies {
  readonly #settings: GatewaySettings
  #next = 0

  constructor(settings: GatewaySettings) {
    this.#settings = settings
  }

  /** @returns what to present with the call; undefined where nobody can be asked, or had nothing. Never rejects. */
  ask(asking: Asking, { needs }: Pick<Refusal, 'needs'>): Promise<Partial<Presented> | undefined> {
    const form = formOf(needs)
    const { signal } = asking
    const { client, questions } = asking.session
    if (!form || !client.form || questions.size >= MAX_QUESTIONS) return Promise.resolve(undefined)
    const id = `need_${++this.#next}`
    const { message, properties } = form
    const required = Object.keys(properties)
    const params = { message, requestedSchema: { type: 'object', properties, required } }
    return new Promise((resolve) => {
      const settle = (presented?: Partial<Presented>): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', giveUp)
        questions.delete(id)
        resolve(presented)
      }
      const giveUp = (): void => {
        settle()
      }
      const timer = setTimeout(giveUp, this.#settings.modelTimeoutMs).unref()
      signal.addEventListener('abort', giveUp)
      questions.set(id, {
        // Of a call that has not gone out: no server waits.
        holds: () => false,
        giveUp,
        answer: ({ result }) => {
          const { action, content } = result ?? {}
          settle(action === 'accept' && isObject(content) ? form.read(content) : undefined)
          return Promise.resolve()
        },
      })
      const text = JSON.stringify({ jsonrpc: '2.0', id, method: 'elicitation/create', params })
      if (signal.aborted || !asking.emit(text)) giveUp()
    })
  }
}

/** The denial says the same; a mandate comes first, for an approval covers the call with it. */
function formOf(needs: Refusal['needs'] = []): Form | undefined {
  if (needs.some(({ kind }) => kind === 'mandate')) {
    return {
      message: 'This call needs a mandate that covers it. Name one that was given for this task.',
      properties: {
        mandate: {
          type: 'string',
          title: 'Mandate',
          description: 'The id of a mandate, `mdt_` and 43 characters.',
          maxLength: 47,
        },
      },
      read: ({ mandate }) => (isMandate(mandate) ? { mandate } : undefined),
    }
  }
  const need = needs.find(({ kind }) => kind === 'approval')
  const approval = need?.approval
  if (!need || approval === undefined) return undefined
  const how = need.count === 1 ? 'an approval' : `approvals of ${need.count} operators`
  return {
    message: `This call needs ${how}, and waits for that as \`${approval}\`. Go on once it is given: nobody approves their own.`,
    properties: {
      approved: { type: 'boolean', title: 'It is approved', default: false },
    },
    read: ({ approved }) => (approved === true ? { approval } : undefined),
  }
}

const isMandate = (value: JsonValue | undefined): value is string =>
  typeof value === 'string' && MANDATE_ID.test(value)
