import assert from 'node:assert/strict'
import { systemClock } from '@sallyport/base'
import { createOperatorApi } from '../../src/operator/index.ts'
import { planSite } from '../../src/site/site.ts'
import type { Site } from '../../src/site/site.ts'
import { SoftAuthenticator } from './authenticator.ts'
import type { CreationOptions } from './authenticator.ts'
import { Browser } from './browser.ts'
import { memoryControl } from './memory.ts'
import type { MemoryControl } from './memory.ts'
import { Files, WebCa } from './tls.ts'

export const ORIGIN = 'https://console.bank.example'
const POLL_MS = 20

export interface SecureConsole {
  readonly ca: WebCa
  readonly files: Files
  readonly control: MemoryControl
  readonly site: Site
  readonly port: number
  /** What was said to the operator of the machine. */
  readonly said: { readonly code?: string; readonly detail?: string }[]
  browser(): Browser
  enrolled(operator: string): Promise<{ browser: Browser; passkey: SoftAuthenticator }>
  close(): Promise<void>
}

/** The operator API behind TLS, as the control plane serves it off loopback; here it listens on loopback. */
export async function openSecureConsole(): Promise<SecureConsole> {
  const ca = new WebCa()
  const files = new Files()
  files.put(ca.leaf(), ca.issuer)
  const said: SecureConsole['said'] = []
  const site = await planSite({
    origin: ORIGIN,
    clock: systemClock,
    onError: (error) => said.push(error as SecureConsole['said'][number]),
    port: 0,
    listen: { host: '127.0.0.1', port: 0 },
    certFile: files.certFile,
    keyFile: files.keyFile,
    certificatePollMs: POLL_MS,
  })
  const control = await memoryControl(ORIGIN)
  const api = createOperatorApi(control.context)
  const web = await site.listen(api.consoleHandler)
  const port = Number(new URL(`https://${web.at}`).port)
  const browser = (): Browser => new Browser(ORIGIN, { host: '127.0.0.1', port, ca: ca.root.pem })
  return {
    ca,
    files,
    control,
    site,
    port,
    said,
    browser,
    enrolled: async (operator) => {
      const tab = browser()
      const { link } = await control.context.operators.createLink({ operator, by: 'test' })
      const passkey = new SoftAuthenticator(ORIGIN)
      const options = await tab.post('/api/auth/register/options', { link })
      assert.equal(options.status, 200, options.text)
      const response = passkey.create(options.body as unknown as CreationOptions)
      const done = await tab.post('/api/auth/register/verify', { link, response })
      assert.equal(done.status, 200, done.text)
      return { browser: tab, passkey }
    },
    close: async () => {
      api.close()
      site.stop()
      await web.close()
      files.remove()
    },
  }
}
