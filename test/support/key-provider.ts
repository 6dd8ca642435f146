import { createServer } from 'node:https'
import type { Server } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { WebCa } from '../../packages/control/test/support/tls.ts'

interface Key {
  readonly id: string
  readonly label: string
  readonly value: string
  active: boolean
}

export const ADMIN_KEY = 'admin-canary'
/** What a control plane asks of it. */
export type Act = 'create' | 'verify' | 'revoke' | 'list'

/** Somebody else's service with keys of its own: calls need one, and its administration makes and ends them. Real TLS. */
export class KeyProvider {
  readonly keys: Key[] = []
  /** Answers of the service itself, by key: what came in with none that is good. */
  served = 0
  refused = 0
  readonly used: Set<string> = new Set()
  /** Called when the administration is asked, before anything is done, and again when it is done and not yet answered. */
  at: (act: Act, moment: 'before' | 'after') => void = () => undefined
  readonly ca: WebCa = new WebCa()
  readonly #server: Server
  port = 0

  constructor() {
    const leaf = this.ca.leaf({ dns: ['localhost'] })
    this.#server = createServer(
      { cert: leaf.pem + this.ca.issuer.pem, key: leaf.keyPem },
      (req, res) => void this.#answer(req, res),
    )
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    // Listening on TCP, so the address is an object.
    this.port = (this.#server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  add(label: string): Key {
    const id = `key_${this.keys.length + 1}`
    const key = { id, label, value: `canary-${id}`, active: true }
    this.keys.push(key)
    return key
  }

  get active(): string[] {
    return this.keys.filter(({ active }) => active).map(({ value }) => value)
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    res.on('error', () => undefined)
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const [path = ''] = (req.url ?? '').split('?')
    const given = (req.headers.authorization ?? '').replace(/^Bearer /, '')
    const send = (status: number, value: unknown): void => {
      res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    }
    const good = this.keys.some(({ active, value }) => active && value === given)
    if (path === '/v1/answers') {
      if (good) {
        this.served++
        this.used.add(given)
      } else this.refused++
      send(good ? 200 : 401, good ? { ok: true } : { error: 'no such key' })
      return
    }
    const act = actOf(req.method ?? '', path)
    if (!act || (act === 'verify' ? !good : given !== ADMIN_KEY)) return send(401, {})
    this.at(act, 'before')
    await turn()
    const value = this.#act(act, path, Buffer.concat(chunks).toString())
    this.at(act, 'after')
    await turn()
    if (value === undefined) send(404, {})
    else send(200, value)
  }

  #act(act: Act, path: string, body: string): object | undefined {
    if (act === 'verify') return {}
    if (act === 'list') return { keys: this.keys.filter(({ active }) => active) }
    if (act === 'create') {
      // Written by the control plane from its declaration.
      const { label } = JSON.parse(body) as { label: string }
      return this.add(label)
    }
    const key = this.keys.find(({ id, active }) => active && path.endsWith(`/${id}`))
    if (key) key.active = false
    // One that is gone is not there: asked twice, it says so.
    return key && {}
  }
}

function actOf(method: string, path: string): Act | undefined {
  if (path === '/v1/me') return 'verify'
  if (path === '/v1/keys') return method === 'POST' ? 'create' : 'list'
  return path.startsWith('/v1/keys/') && method === 'DELETE' ? 'revoke' : undefined
}
