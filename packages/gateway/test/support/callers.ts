import { IdentityHolder, mtlsConnector } from '@sallyport/transport'
import type { IdentityMaterial } from '@sallyport/transport'
import { Client } from 'undici'
import type { Dispatcher } from 'undici'

export interface Load {
  /** Calls a second. */
  readonly rate: number
  readonly calls: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
}

/** Callers with a connection each, kept between runs. */
export class Callers {
  readonly #clients: Client[]
  readonly #request: Dispatcher.RequestOptions

  /** @param body is posted as JSON */
  constructor(agents: readonly IdentityMaterial[], port: number, path: string, body?: string) {
    const headers = { 'content-type': 'application/json' }
    this.#request =
      body === undefined ? { method: 'GET', path } : { method: 'POST', path, headers, body }
    this.#clients = agents.map(
      (agent) =>
        new Client('https://gateway.invalid', {
          keepAliveTimeout: 600_000,
          connect: mtlsConnector({
            identity: new IdentityHolder(agent),
            target: { host: '127.0.0.1', port },
            expect: () => true,
            timeoutMs: 60_000,
          }),
        }),
    )
  }

  /** Each of the first `inFlight` callers makes one call after the other for a time. @throws Error where one is refused */
  async run(ms: number, inFlight: number): Promise<Load> {
    const times: number[] = []
    const started = performance.now()
    const until = started + ms
    await Promise.all(
      this.#clients.slice(0, inFlight).map(async (client) => {
        while (performance.now() < until) {
          const from = performance.now()
          const answer = await client.request(this.#request)
          const text = await answer.body.text()
          if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${text}`)
          times.push(performance.now() - from)
        }
      }),
    )
    const seconds = (performance.now() - started) / 1000
    return {
      rate: times.length / seconds,
      calls: times.length,
      p50: percentile(times, 0.5),
      p99: percentile(times, 0.99),
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.destroy()))
  }
}

/** The value below which the share `p` (0–1) of the values lies (nearest rank). */
function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? Number.NaN
}
