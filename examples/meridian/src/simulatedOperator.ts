import { setTimeout as sleep } from 'node:timers/promises'
import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { SoftwareAuthenticator } from './softwareAuthenticator.ts'

type JsonObject = { readonly [key: string]: JsonValue }

export interface SimulatedOperatorOptions {
  /** `http://localhost:PORT` of the console. */
  readonly consoleUrl: string
  /** The one-time link that `init` or the demo prints, or its secret alone. */
  readonly link: string
  /** Called for each round of `run` that failed; the next one tries again. */
  readonly onError?: (error: unknown) => void
  /** Called for each approval decided. */
  readonly onDecided?: (approval: { id: string; operation: string; decision: string }) => void
}

/**
 * Plays the operator of a headless run: enrols a software passkey with the one-time link, signs in, and approves what
 * waits in the inbox by signing the exact arguments, through the same API as the console.
 */
export class SimulatedOperator {
  readonly #options: SimulatedOperatorOptions
  readonly #authenticator: SoftwareAuthenticator
  #cookie = ''
  #csrf = ''
  #running = true

  constructor(options: SimulatedOperatorOptions) {
    this.#options = options
    this.#authenticator = new SoftwareAuthenticator(new URL(options.consoleUrl).origin)
  }

  /** Enrols and signs in. @throws SallyportError `SP_MERIDIAN_OPERATOR` where the control plane refuses */
  async signIn(): Promise<void> {
    await this.#refreshSession()
    const link = this.#options.link.replace(/^.*#/, '')
    const creation = inner(await this.#send('POST', '/api/auth/register/options', { link }))
    await this.#send('POST', '/api/auth/register/verify', {
      link,
      response: asJson(
        this.#authenticator.create({
          rp: { id: text(object(creation['rp']), 'id') },
          challenge: text(creation, 'challenge'),
        }),
      ),
    })
    await this.#refreshSession()
    const request = inner(await this.#send('POST', '/api/auth/login/options', {}))
    await this.#send('POST', '/api/auth/login/verify', { response: this.#sign(request) })
    await this.#refreshSession()
  }

  /** Decides what waits now; resolves to how many approvals were decided. */
  async decidePending(decision: 'approve' | 'deny' = 'approve'): Promise<number> {
    const answer = await this.#send('GET', '/api/approvals?status=pending')
    const listed = Array.isArray(answer) ? answer : object(answer)['approvals']
    let decided = 0
    for (const item of Array.isArray(listed) ? listed : []) {
      const approval = object(item)
      if (approval['canDecide'] === false) continue
      const id = text(approval, 'id')
      const path = `/api/approvals/${encodeURIComponent(id)}`
      const offered = object(await this.#send('POST', `${path}/options`, { decision }))
      await this.#send('POST', `${path}/decide`, {
        statement: offered['statement'] ?? null,
        response: this.#sign(inner(offered['options'] ?? null)),
      })
      decided++
      const operation = `${text(approval, 'system')}.${text(approval, 'operation')}`
      this.#options.onDecided?.({ id, operation, decision })
    }
    return decided
  }

  /** Gives a mandate, signed as it was drawn up. @returns its id */
  async giveMandate(draft: JsonObject): Promise<string> {
    const offered = object(await this.#send('POST', '/api/mandates/options', draft))
    const given = await this.#send('POST', '/api/mandates', {
      statement: offered['statement'] ?? null,
      response: this.#sign(inner(offered['options'] ?? null)),
    })
    return text(object(given), 'id')
  }

  /** Signs the prepared successor of the trust root. @returns whether that made the quorum */
  async signRoot(): Promise<boolean> {
    const offered = object(await this.#send('POST', '/api/ca/root/sign/options', {}))
    const given = await this.#send('POST', '/api/ca/root/sign', {
      statement: offered['statement'] ?? null,
      response: this.#sign(inner(offered['options'] ?? null)),
    })
    return object(given)['live'] === true
  }

  /** Decides whatever comes in until `stop` is called. */
  async run(everyMs = 500): Promise<void> {
    while (this.#running) {
      try {
        await this.decidePending()
      } catch (error) {
        this.#options.onError?.(error)
      }
      await sleep(everyMs)
    }
  }

  stop(): void {
    this.#running = false
  }

  #sign(options: JsonObject): JsonValue {
    const rpId = options['rpId']
    return asJson(
      this.#authenticator.get({
        challenge: text(options, 'challenge'),
        ...(typeof rpId === 'string' ? { rpId } : {}),
      }),
    )
  }

  async #refreshSession(): Promise<void> {
    this.#csrf = text(object(await this.#send('GET', '/api/session')), 'csrf')
  }

  async #send(method: string, path: string, body?: JsonObject): Promise<JsonValue> {
    const { origin } = new URL(this.#options.consoleUrl)
    const response = await fetch(new URL(path, origin), {
      method,
      headers: {
        origin,
        'content-type': 'application/json',
        ...(this.#cookie === '' ? {} : { cookie: this.#cookie }),
        ...(this.#csrf === '' ? {} : { 'x-sallyport-csrf': this.#csrf }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    for (const cookie of response.headers.getSetCookie()) {
      if (cookie.startsWith('sp_session=')) this.#cookie = cookie.split(';')[0] ?? ''
    }
    const answer = await response.text()
    if (!response.ok) {
      throw new SallyportError('SP_MERIDIAN_OPERATOR', `the control plane refused \`${path}\``, {
        detail: `HTTP ${response.status}: ${answer.slice(0, 500)}`,
        fix: 'Use a one-time link that is still good and the address that was printed with it.',
      })
    }
    return answer === '' ? null : parseJson(answer)
  }
}

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const object = (value: JsonValue | undefined): JsonObject => (isObject(value) ? value : {})

/** Options come bare or under `options` or `publicKey`, as browsers' and servers' libraries differ. */
function inner(value: JsonValue): JsonObject {
  const outer = object(value)
  for (const name of ['options', 'publicKey']) {
    if (outer[name] !== undefined) return inner(outer[name])
  }
  return outer
}

function text(from: JsonObject, name: string): string {
  const value = from[name]
  return typeof value === 'string' ? value : ''
}

/** A credential holds strings, lists of strings and objects of them only. */
const asJson = (value: object): JsonValue => parseJson(JSON.stringify(value))
