import { readFileSync } from 'node:fs'
import { enrol } from '@sallyport/agent'
import type { Identity } from '@sallyport/agent'
import { required, target } from './env.ts'
import { failureCode } from './events.ts'
import type { Emit } from './events.ts'

/**
 * Enrols this process with the one-use join token it was given and keeps its SVID fresh. Every process of Meridian,
 * agent or service, starts here.
 */
export async function joinFabric(emit: Emit): Promise<Identity> {
  const identity = await enrol({
    planeTarget: target('SALLYPORT_PLANE'),
    rootsPem: readFileSync(required('SALLYPORT_ROOTS'), 'utf8'),
    token: readFileSync(required('SALLYPORT_TOKEN_FILE'), 'utf8').trim(),
    trustDomain: required('SALLYPORT_TRUST_DOMAIN'),
    onRotationError: (error) => emit('rotation-failed', { code: failureCode(error) }),
  })
  identity.holder.onChange(() => emit('rotation', { notAfter: identity.holder.current().notAfter }))
  identity.startRotation()
  return identity
}
