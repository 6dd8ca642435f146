import { createHash, X509Certificate } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import type { IdentityHolder } from '@sallyport/transport'
import type { TrustPins } from '@sallyport/wire'
import { isObject } from '../adapters/jsonrpc.ts'
import { readJsonFile, writeDurably } from '../state/files.ts'
import type { PlaneClient } from './client.ts'
import { checked, keepIdentity, newKey } from './enrol.ts'

export interface RenewalOptions {
  readonly id: string
  readonly dataDir: string
  readonly pins: TrustPins
  /** PEM of the roots that are trusted now. */
  readonly roots: () => string
  readonly holder: IdentityHolder
  readonly client: PlaneClient
  readonly clock: Clock
  onFailure(code: string): void
}

const PENDING = 'renewal.json'
const MIN_DELAY_MS = 500
const MAX_DELAY_MS = 6 * 3_600_000

/** Renews the gateway's SVID from half of its life on, with a new key each time. @returns what ends it */
export function startRenewal(options: RenewalOptions): () => void {
  let stopped = false
  let timer: NodeJS.Timeout
  const arm = (delay: number): void => {
    if (stopped) return
    timer = setTimeout(run, Math.min(Math.max(delay, MIN_DELAY_MS), MAX_DELAY_MS)).unref()
  }
  const run = (): void => {
    renew(options).then(
      () => {
        arm(halfLife(options))
      },
      (error: unknown) => {
        options.onFailure(errorCode(error))
        arm((options.holder.current().notAfter - options.clock.now()) / 8)
      },
    )
  }
  arm(halfLife(options))
  return () => {
    stopped = true
    clearTimeout(timer)
  }
}

function halfLife({ holder, clock }: RenewalOptions): number {
  const { chainPem, notAfter } = holder.current()
  const from = new X509Certificate(chainPem).validFromDate.getTime()
  // Not all gateways at the same moment: up to a tenth of the life earlier, the same for a given certificate.
  const spread = (createHash('sha256').update(chainPem).digest()[0] ?? 0) / 2560
  return from + (notAfter - from) * (0.5 - spread) - clock.now()
}

/**
 * One renewal. The key is durable before it is asked for and kept until its certificate is: an answer that got lost, or a
 * crash before it was kept, is asked for again under the same key, which control answers with the same certificate. With
 * another key it would look like the reuse of a superseded certificate, and quarantine this gateway.
 */
async function renew(options: RenewalOptions): Promise<void> {
  const pending = join(options.dataDir, PENDING)
  const kept = await readJsonFile(pending)
  const { keyPem, csr } = pendingKey(kept) ?? newKey()
  await writeDurably(pending, JSON.stringify({ keyPem, csr }))
  const { body } = await options.client.request({
    method: 'POST',
    path: '/v1/renew',
    body: { csr },
  })
  const material = checked({ chainPem: body['chain'] ?? null }, keyPem, options)
  await keepIdentity(options.dataDir, material)
  await rm(pending, { force: true })
  options.holder.replace(material)
}

function pendingKey(kept: JsonValue | undefined): { keyPem: string; csr: string } | undefined {
  if (!isObject(kept)) return undefined
  const { keyPem, csr } = kept
  return typeof keyPem === 'string' && typeof csr === 'string' ? { keyPem, csr } : undefined
}
