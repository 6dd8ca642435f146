import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import { initTrust, startControl } from '../../src/index.ts'
import type { Control } from '../../src/index.ts'
import { SoftAuthenticator } from './authenticator.ts'
import type { Bend, CreationOptions, RequestOptions } from './authenticator.ts'
import { Browser } from './browser.ts'
import type { Answer } from './browser.ts'
import { signed } from './console.ts'
import { claimPorts } from '../../../../test/support/ports.ts'

export interface SignedIn {
  readonly browser: Browser
  readonly passkey: SoftAuthenticator
}

/** The whole control plane, as it runs: PostgreSQL, real trust root, real HTTP. Its clock can be moved. */
export class RealConsole {
  readonly origin: string
  readonly dataDir: string
  readonly errors: unknown[] = []
  /** Milliseconds by which its clock is ahead of the machine's. */
  skew = 0
  readonly #declaration: Declaration
  readonly #databaseUrl: string | undefined
  readonly #port: number
  #control: Control | undefined

  private constructor(port: number, declaration: Declaration, databaseUrl: string | undefined) {
    this.#port = port
    this.#declaration = declaration
    this.#databaseUrl = databaseUrl
    this.origin = `http://localhost:${port}`
    this.dataDir = mkdtempSync(join(tmpdir(), 'sp-console-'))
  }

  /** @param options.beside another one, whose trust root and database this one shares */
  static async start(
    declaration: Declaration,
    options: {
      readonly databaseUrl?: string
      readonly beside?: RealConsole
      readonly port?: number
    } = {},
  ): Promise<RealConsole> {
    const real = new RealConsole(
      options.port ?? (await RealConsole.port()),
      declaration,
      options.databaseUrl,
    )
    const { origin, dataDir } = real
    if (options.beside) {
      cpSync(join(options.beside.dataDir, 'trust'), join(dataDir, 'trust'), { recursive: true })
    } else await initTrust({ dataDir, declaration, rpId: 'localhost', origin })
    await real.restart()
    return real
  }

  /** Passkeys and redirects are bound to the origin, so the port is chosen before everything else. */
  static port(): Promise<number> {
    return claimPorts()
  }

  get control(): Control {
    assert.ok(this.#control)
    return this.#control
  }

  async restart(): Promise<void> {
    await this.#control?.close()
    const clock: Clock = {
      now: () => systemClock.now() + this.skew,
      monotonic: () => systemClock.monotonic() + this.skew,
    }
    this.#control = await startControl({
      dataDir: this.dataDir,
      declaration: this.#declaration,
      console: { port: this.#port },
      plane: { host: '127.0.0.1', port: 0 },
      clock,
      onError: (error) => this.errors.push(error),
      ...(this.#databaseUrl === undefined ? {} : { databaseUrl: this.#databaseUrl }),
    })
  }

  async close(): Promise<void> {
    await this.#control?.close()
    rmSync(this.dataDir, { recursive: true, force: true })
  }

  tab(userAgent?: string): Browser {
    const browser = new Browser(this.origin, { host: '127.0.0.1', port: this.#port })
    browser.userAgent = userAgent
    return browser
  }

  local(): Browser {
    return new Browser(this.origin, { socketPath: this.control.adminSocket })
  }

  /** Enrols a passkey; the admins sign the new set where it takes that, and the operator signs in. */
  async enrol(operator: string, ...admins: readonly SignedIn[]): Promise<SignedIn> {
    const { link } = await this.control.context.operators.createLink({ operator, by: 'test' })
    const browser = this.tab()
    const passkey = new SoftAuthenticator(this.origin)
    const options = await browser.post('/api/auth/register/options', { link })
    assert.equal(options.status, 200, options.text)
    const response = passkey.create(options.body as unknown as CreationOptions)
    const done = await browser.post('/api/auth/register/verify', { link, response })
    assert.equal(done.status, 200, done.text)
    if (done.body['active'] === true) return { browser, passkey }
    for (const admin of admins) {
      const path = '/api/operators/sign'
      const answer = await signed(admin.browser, admin.passkey, `${path}/options`, {}, path)
      assert.equal(answer.status, 200, answer.text)
    }
    const entered = await this.login(passkey, browser)
    assert.equal(entered.status, 200, entered.text)
    return { browser, passkey }
  }

  async login(
    passkey: SoftAuthenticator,
    browser: Browser = this.tab(),
    bend: Bend = {},
  ): Promise<Answer> {
    const options = await browser.post('/api/auth/login/options')
    // What the route answers; a wrong shape fails the sign-in.
    const response = passkey.get(options.body as unknown as RequestOptions, bend)
    return browser.post('/api/auth/login/verify', { response })
  }
}
