import assert from 'node:assert/strict'
import { SoftAuthenticator } from './authenticator.ts'
import type { CreationOptions, RequestOptions } from './authenticator.ts'
import { Browser } from './browser.ts'
import type { Answer } from './browser.ts'

/** A person at a browser, with a passkey: opens what a client sends them to, and allows it. */
export class Person {
  readonly issuer: string
  readonly #browser: Browser
  readonly #passkey: SoftAuthenticator
  readonly #cookies = new Map<string, { value: string; path: string }>()

  constructor(issuer: string) {
    this.issuer = issuer
    this.#browser = this.#tab()
    this.#passkey = new SoftAuthenticator(issuer)
  }

  /** Enrols a passkey and is signed in. */
  async enrol(link: string): Promise<void> {
    const secret = link.replace(/^.*#/, '')
    const options = await this.#browser.post('/api/auth/register/options', { link: secret })
    assert.equal(options.status, 200, options.text)
    // What the route answers; a wrong shape fails the ceremony.
    const response = this.#passkey.create(options.body as unknown as CreationOptions)
    const body = { link: secret, response }
    const done = await this.#browser.post('/api/auth/register/verify', body)
    assert.equal(done.status, 200, done.text)
  }

  /** Allows what the client asks for. @returns where the browser ends up */
  async allow(authorisation: URL): Promise<URL> {
    const asked = await this.#visit(authorisation.pathname + authorisation.search)
    assert.equal(asked.status, 303, asked.text)
    const { pathname } = new URL(asked.headers.location ?? '', this.issuer)
    const page = await this.#visit(pathname)
    assert.equal(page.status, 200, page.text)
    const ticket = /data-ticket="([\w-]+)"/.exec(page.text)?.[1]
    const path = `/api/consents/${pathname.split('/').at(-1)}`
    const offered = await this.#browser.post(`${path}/options`, { ticket })
    assert.equal(offered.status, 200, offered.text)
    // What the route answers; a wrong shape fails the signature.
    const { statement, options } = offered.body as unknown as {
      statement: unknown
      options: RequestOptions
    }
    const response = this.#passkey.get(options)
    const done = await this.#browser.post(`${path}/allow`, { ticket, statement, response })
    assert.equal(done.status, 200, done.text)
    const { pathname: onward } = new URL(String(done.body['redirect']))
    const answer = await this.#visit(onward)
    assert.equal(answer.status, 303, answer.text)
    return new URL(answer.headers.location ?? '')
  }

  #tab(): Browser {
    return new Browser(this.issuer, { host: '127.0.0.1', port: Number(new URL(this.issuer).port) })
  }

  async #visit(path: string): Promise<Answer> {
    const cookie = [...this.#cookies]
      .filter(([, kept]) => path.startsWith(kept.path))
      .map(([name, { value }]) => `${name}=${value}`)
      .join('; ')
    const answer = await this.#tab().get(path, {
      cookie: cookie === '' ? undefined : cookie,
      'sec-fetch-site': 'cross-site',
    })
    for (const line of answer.headers['set-cookie'] ?? []) {
      const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
      const [name = '', value = ''] = pair.split('=')
      const at = attributes.find((one) => /^path=/i.test(one))?.slice(5) ?? '/'
      if (value === '') this.#cookies.delete(name)
      else this.#cookies.set(name, { value, path: at })
    }
    return answer
  }
}
