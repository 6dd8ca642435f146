import { generateKeyPairSync } from 'node:crypto'
import { newId } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { controlId } from '@sallyport/spiffe'
import type { Authority } from './authority/authority.ts'
import { IdentityHolder } from '@sallyport/transport'
import type { IdentityMaterial } from '@sallyport/transport'
import type { Trust } from './trust.ts'

/** The control plane's own SVID, with a fresh key each time, renewed at half of its life, or as soon as the root is another. */
export function ownIdentity(deps: {
  readonly issuer: Pick<Authority, 'issue' | 'ready'>
  readonly trust: Trust
  readonly clock: Clock
  readonly ttlSeconds: () => number
  readonly onError: (error: unknown) => void
}): { readonly holder: IdentityHolder; refresh(): Promise<void>; stop(): void } {
  const { issuer, trust, clock } = deps
  const { trustDomain } = trust.pins
  const spiffeId = controlId(trustDomain, newId('c', clock.now()).slice(2))
  const make = (): IdentityMaterial => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { chainPem, notAfter } = issuer.issue({
      spiffeId,
      publicKeySpki: publicKey.export({ format: 'der', type: 'spki' }),
      ttlSeconds: deps.ttlSeconds(),
      now: clock.now(),
    })
    const keyPem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    return { chainPem, keyPem, rootsPem: trust.rootsPem, trustDomain, notAfter }
  }
  const holder = new IdentityHolder(make())
  let timer: NodeJS.Timeout
  let stopped = false
  const refresh = async (): Promise<void> => {
    await issuer.ready()
    holder.replace(make())
  }
  const schedule = (ms: number): void => {
    if (stopped) return
    timer = setTimeout(() => {
      refresh().then(
        () => schedule((deps.ttlSeconds() * 1000) / 2),
        (error: unknown) => {
          deps.onError(error)
          schedule(1000)
        },
      )
    }, ms)
    timer.unref()
  }
  schedule((deps.ttlSeconds() * 1000) / 2)
  return {
    holder,
    refresh,
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
