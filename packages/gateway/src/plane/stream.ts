import { setTimeout as sleep } from 'node:timers/promises'
import type { Readable } from 'node:stream'
import { errorCode, parseJson } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import type { IdentityHolder } from '@sallyport/transport'
import { isObject } from '../adapters/jsonrpc.ts'
import type { PlaneClient } from './client.ts'

export interface StreamOptions {
  readonly client: PlaneClient
  readonly holder: IdentityHolder
  readonly clock: Clock
  /** Handles one signed bundle, wherever it came from; awaited, so that bundles are taken in order. */
  onBundle(signed: JsonValue): Promise<void>
  /** @param at what time it is there, milliseconds since the epoch */
  onHeartbeat(at: number): void
  onFailure(code: string): void
}

const MAX_LINE = 32 * 1024 * 1024
const FIRST_DELAY_MS = 50
const MAX_DELAY_MS = 3000

/**
 * Keeps `GET /v1/stream` to the control plane open; while it cannot, asks for the bundle. Everything that arrives is only
 * a message: whether it is enforced is `acceptBundle`'s to say.
 *
 * @returns what ends it
 */
export function followPlane(options: StreamOptions): () => Promise<void> {
  const stop = new AbortController()
  const done = run(options, stop.signal)
  return async () => {
    stop.abort()
    await done
  }
}

async function run(options: StreamOptions, stop: AbortSignal): Promise<void> {
  let delay = FIRST_DELAY_MS
  while (!stop.aborted) {
    const started = options.clock.monotonic()
    try {
      await follow(options, stop)
    } catch (error) {
      if (stop.aborted) return
      options.onFailure(errorCode(error))
      await ask(options).catch(() => undefined)
    }
    // A stream that lasted is opened again at once: certificates rotate under it.
    delay = options.clock.monotonic() - started > 1000 ? FIRST_DELAY_MS : delay * 2
    if (delay > FIRST_DELAY_MS) {
      await sleep(Math.min(delay, MAX_DELAY_MS), undefined, { signal: stop }).catch(() => undefined)
    }
  }
}

async function ask(options: StreamOptions): Promise<void> {
  const { client } = options
  const { body } = await client.request({ method: 'GET', path: '/v1/bundle' })
  await options.onBundle(body)
}

async function follow(options: StreamOptions, stop: AbortSignal): Promise<void> {
  const one = new AbortController()
  const end = (): void => {
    one.abort()
  }
  stop.addEventListener('abort', end, { once: true })
  // The control plane judges the stream by the certificate that it was opened with.
  const unsubscribe = options.holder.onChange(end)
  try {
    const stream = await options.client.stream('/v1/stream', one.signal)
    await readLines(stream, async (line) => {
      const message = parseJson(line, { maxBytes: MAX_LINE })
      if (!isObject(message)) return
      if (message['type'] === 'heartbeat') options.onHeartbeat(Number(message['at']))
      else if (message['type'] === 'bundle') {
        await options.onBundle({
          bundle: message['bundle'] ?? null,
          signature: message['signature'] ?? null,
        })
      }
    })
  } catch (error) {
    if (!one.signal.aborted || stop.aborted) throw error
  } finally {
    unsubscribe()
    stop.removeEventListener('abort', end)
    one.abort()
  }
}

async function readLines(stream: Readable, onLine: (line: Buffer) => Promise<void>): Promise<void> {
  let rest: Buffer[] = []
  let size = 0
  for await (const chunk of stream) {
    // Without an encoding set, a body yields buffers.
    let bytes = chunk as Buffer
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a)) {
      const line = Buffer.concat([...rest, bytes.subarray(0, end)])
      rest = []
      size = 0
      bytes = bytes.subarray(end + 1)
      if (line.length > 0) await onLine(line)
    }
    size += bytes.length
    if (size > MAX_LINE) throw new RangeError('a line of the stream is too long')
    if (bytes.length > 0) rest.push(bytes)
  }
}
