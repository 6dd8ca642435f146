import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createOperatorApi } from '../../src/operator/index.ts'
import { SoftAuthenticator } from './authenticator.ts'
import type { CreationOptions, RequestOptions } from './authenticator.ts'
import { Browser } from './browser.ts'
import type { Answer } from './browser.ts'
import { memoryControl } from './memory.ts'
import type { MemoryControl } from './memory.ts'

export interface TestConsole {
  readonly origin: string
  readonly control: MemoryControl
  readonly api: ReturnType<typeof createOperatorApi>
  readonly errors: unknown[]
  browser(): Browser
  /** A signed-in browser of a freshly enrolled operator. */
  enrolled(operator: string): Promise<{ browser: Browser; passkey: SoftAuthenticator }>
  close(): Promise<void>
}

/** The operator API behind a real server on loopback. */
export async function openConsole(staticDir?: string): Promise<TestConsole> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  // Listening on TCP, so the address is an object.
  const { port } = server.address() as AddressInfo
  const origin = `http://localhost:${port}`
  const control = await memoryControl(origin)
  const errors: unknown[] = []
  const api = createOperatorApi(control.context, {
    ...(staticDir === undefined ? {} : { staticDir }),
    onError: (error) => errors.push(error),
  })
  server.on('request', api.consoleHandler)
  const browser = (): Browser => new Browser(origin, { host: '127.0.0.1', port })
  return {
    origin,
    control,
    api,
    errors,
    browser,
    enrolled: async (operator) => {
      const tab = browser()
      const { link } = await control.context.operators.createLink({ operator, by: 'test' })
      const passkey = new SoftAuthenticator(origin)
      const options = await tab.post('/api/auth/register/options', { link })
      assert.equal(options.status, 200, options.text)
      const response = passkey.create(options.body as unknown as CreationOptions)
      const done = await tab.post('/api/auth/register/verify', { link, response })
      assert.equal(done.status, 200, done.text)
      return { browser: tab, passkey }
    },
    close: async () => {
      api.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** The ceremony of a signed act: asks for the statement, signs it, sends both. */
export async function signed(
  browser: Browser,
  passkey: SoftAuthenticator,
  optionsPath: string,
  ask: unknown,
  actPath: string,
  change: (body: { statement: Record<string, unknown>; response: unknown }) => unknown = (body) =>
    body,
): Promise<Answer> {
  const offered = await browser.post(optionsPath, ask)
  assert.equal(offered.status, 200, offered.text)
  // What the routes answer; a wrong shape fails the signature.
  const { statement, options } = offered.body as unknown as {
    statement: Record<string, unknown>
    options: RequestOptions
  }
  return browser.post(actPath, change({ statement, response: passkey.get(options) }))
}
