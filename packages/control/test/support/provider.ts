import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

interface Key {
  readonly id: string
  readonly name: string
  readonly value: string
  active: boolean
}

export const ADMIN_KEY = 'sk-admin-canary'

/**
 * A provider of keys that speaks the calls of OpenAI’s administration API (projects’ service accounts), of Anthropic’s Admin API, and
 * of Airtable’s `whoami`, over real HTTP.
 */
export class TestProvider {
  readonly keys: Key[] = []
  /** Status with which the next calls of this kind are answered; -1 breaks the connection off after the work is done. */
  readonly failures: { kind: 'create' | 'verify' | 'revoke'; status: number }[] = []
  calls = 0
  refused = 0
  readonly #server: Server
  url = ''

  constructor() {
    this.#server = createServer((req, res) => void this.#answer(req, res))
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    // Listening on TCP, so the address is an object.
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  add(name: string, value: string): Key {
    const key = { id: `key_${this.keys.length + 1}`, name, value, active: true }
    this.keys.push(key)
    return key
  }

  get active(): string[] {
    return this.keys.filter(({ active }) => active).map(({ value }) => value)
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const body = chunks.length > 0 ? (JSON.parse(Buffer.concat(chunks).toString()) as Body) : {}
    const path = (req.url ?? '').split('?')[0] ?? ''
    const { authorization = '' } = req.headers
    const given = req.headers['x-api-key'] ?? authorization.replace(/^Bearer /, '')
    const send = (status: number, value: unknown): void => {
      res.writeHead(status, { 'content-type': 'application/json' })
      res.end(JSON.stringify(value))
    }
    const failure = (kind: 'create' | 'verify' | 'revoke'): number | undefined => {
      const index = this.failures.findIndex((one) => one.kind === kind)
      return index < 0 ? undefined : this.failures.splice(index, 1)[0]?.status
    }
    const ended = (kind: 'create' | 'verify' | 'revoke', act: () => unknown): void => {
      const status = failure(kind)
      if (status !== undefined && status > 0) {
        send(status, { error: { message: `never say ${String(given)}` } })
        return
      }
      const value = act()
      if (status === -1) res.destroy()
      else send(200, value)
    }
    const use = path === '/v1/models' || path === '/v0/meta/whoami'
    if (use) {
      this.calls++
      const good = this.keys.some(({ active, value }) => active && value === given)
      if (!good) {
        this.refused++
        send(401, { error: { message: 'Incorrect API key provided' } })
      } else ended('verify', () => ({ object: 'list', data: [] }))
      return
    }
    if (given !== ADMIN_KEY) return send(401, { error: { message: 'not an administrator' } })
    const accounts = '/v1/organization/projects/proj_1/service_accounts'
    const anthropic = '/v1/organizations/api_keys'
    if (path === accounts && req.method === 'POST') {
      ended('create', () => {
        const key = this.add(String(body['name']), `sk-svcacct-canary-${this.keys.length + 1}`)
        return {
          object: 'organization.project.service_account',
          id: key.id,
          name: key.name,
          role: 'member',
          created_at: 1711471533,
          api_key: {
            object: 'organization.project.service_account.api_key',
            value: key.value,
            name: 'Secret Key',
            created_at: 1711471533,
            id: `${key.id}_secret`,
          },
        }
      })
    } else if (path === accounts && req.method === 'GET') {
      const data = this.keys
        .filter(({ active }) => active)
        .map(({ id, name }) => ({ object: 'organization.project.service_account', id, name }))
      send(200, { object: 'list', data, has_more: false })
    } else if (path.startsWith(`${accounts}/`) && req.method === 'DELETE') {
      ended('revoke', () => {
        const id = path.slice(accounts.length + 1)
        for (const key of this.keys) if (key.id === id) key.active = false
        return { object: 'organization.project.service_account.deleted', id, deleted: true }
      })
    } else if (path === anthropic && req.method === 'GET') {
      if (req.headers['anthropic-version'] === undefined) return send(400, {})
      const data = this.keys.map(({ id, name, value, active }) => ({
        type: 'api_key',
        id,
        name,
        status: active ? 'active' : 'inactive',
        partial_key_hint: `${value.slice(0, 14)}...${value.slice(-4)}`,
      }))
      send(200, { data, has_more: false })
    } else if (path.startsWith(`${anthropic}/`) && req.method === 'POST') {
      ended('revoke', () => {
        const id = path.slice(anthropic.length + 1)
        for (const key of this.keys) {
          if (key.id === id) key.active = body['status'] === 'active'
        }
        return { type: 'api_key', id, status: body['status'] }
      })
    } else send(404, { error: { message: 'Invalid URL' } })
  }
}

type Body = Readonly<{ [name: string]: unknown }>
