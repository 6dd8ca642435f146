import { request } from 'node:http'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

/** The local administrator's way in: a Unix socket (0600) that reads and takes narrowing acts only. */
export interface AdminClient {
  get(path: string): Promise<JsonValue>
  post(path: string, body: unknown): Promise<JsonValue>
}

/**
 * @throws SallyportError `SP_CONFIG_NOT_RUNNING` where no control plane listens; the control plane's own code where it refuses
 */
export function adminClient(dataDir: string): AdminClient {
  const socketPath = join(dataDir, 'run', 'admin.sock')
  const call = (method: string, path: string, body?: unknown): Promise<JsonValue> => {
    if (!existsSync(socketPath)) return Promise.reject(notRunning(dataDir))
    const { promise, resolve, reject } = Promise.withResolvers<JsonValue>()
    const payload = body === undefined ? undefined : JSON.stringify(body)
    const req = request(
      {
        socketPath,
        method,
        path,
        timeout: 30_000,
        headers: {
          host: 'localhost',
          ...(payload === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
        },
      },
      (res) => {
        const chunks: Buffer[] = []
        res.on('data', (chunk: Buffer) => chunks.push(chunk))
        res.on('error', reject)
        res.on('end', () => {
          try {
            const text = Buffer.concat(chunks)
            const value = text.length === 0 ? null : parseJson(text, { maxBytes: 64 << 20 })
            if ((res.statusCode ?? 500) < 400) resolve(value)
            else reject(problem(value, res.statusCode ?? 500))
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)))
          }
        })
      },
    )
    req.on('timeout', () => req.destroy(new Error('no answer within 30 s')))
    req.on('error', (cause) => {
      reject(
        new SallyportError('SP_CONFIG_NOT_RUNNING', 'the control plane does not answer', {
          detail: cause.message,
          fix: 'start it with `sallyport up`, or name its data directory with --data',
          cause,
        }),
      )
    })
    req.end(payload)
    return promise
  }
  return {
    get: (path) => call('GET', path),
    post: (path, body) => call('POST', path, body),
  }
}

const notRunning = (dataDir: string): SallyportError =>
  new SallyportError('SP_CONFIG_NOT_RUNNING', `no control plane runs on \`${dataDir}\``, {
    fix: 'start it with `sallyport up` or `sallyport demo`, or name its data directory with --data',
  })

function problem(value: JsonValue, status: number): SallyportError {
  const body = value !== null && typeof value === 'object' && !Array.isArray(value) ? value : {}
  // Narrowed above to a JSON object; its members are read with their types checked.
  const members = body as Readonly<Record<string, JsonValue>>
  const text = (name: string): string | undefined =>
    typeof members[name] === 'string' ? members[name] : undefined
  const detail = text('detail')
  const fix = text('fix')
  return new SallyportError(
    text('code') ?? 'SP_INTERNAL',
    text('title') ?? `the control plane answered ${status}`,
    { ...(detail ? { detail } : {}), ...(fix ? { fix } : {}) },
  )
}
