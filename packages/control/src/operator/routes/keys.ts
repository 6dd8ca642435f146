import { SallyportError } from '@sallyport/base'
import type { ControlContext } from '../../domain/context.ts'
import { textOf } from '../route.ts'
import type { ApiCall, Route } from '../route.ts'
import { any, listOf, object, openObject, text, time } from '../schema.ts'

const local = { role: 'admin', act: 'widen', local: true } as const
const share = text(512)

/** The register of keys, and what the holders of shares do. */
export function keyRoutes({ keys, barrier }: ControlContext): Route[] {
  const status = openObject({ id: text(64), state: text(16) })
  return [
    {
      method: 'GET',
      path: '/api/keys',
      summary:
        'Every key of the network, with age, use and whether it could be exported; and the data keys of the barrier',
      access: { role: 'viewer', act: 'read', local: true },
      answer: openObject({ keys: listOf(any('KeyInfo')), terms: listOf(any('KeyTerm')) }),
      handle: async () => ({ keys: await keys(), terms: barrier.terms() }),
    },
    {
      method: 'GET',
      path: '/api/unseal',
      summary: 'Whether the barrier is unsealed, and what it takes',
      access: { role: 'viewer', act: 'read', local: true },
      answer: status,
      handle: async () => barrier.status(),
    },
    {
      method: 'POST',
      path: '/api/unseal',
      summary: 'Takes a share; refused here, since this control plane is unsealed',
      access: local,
      body: object({ share }),
      answer: status,
      handle: async (call) => {
        demandLocal(call)
        return barrier.unsealWithShare(textOf(call.body, 'share'))
      },
    },
    {
      method: 'POST',
      path: '/api/keys/rotate',
      summary: 'A new data key for what is encrypted from now on',
      access: { role: 'admin', act: 'narrow', local: true },
      body: object({}),
      answer: openObject({ term: time }),
      handle: async () => ({ term: await barrier.rotate() }),
    },
    {
      method: 'POST',
      path: '/api/keys/rekey',
      summary:
        'New shares for the same root key, by a threshold of the present ones; they wait for confirmation',
      access: local,
      body: object({ count: time, threshold: time, 'authority?': listOf(share) }),
      answer: openObject({ shares: listOf(share) }),
      handle: async (call) => {
        demandLocal(call)
        // The schema has checked both to be whole numbers.
        const [count, threshold] = [Number(call.body['count']), Number(call.body['threshold'])]
        return { shares: await barrier.beginRekey({ count, threshold }, texts(call, 'authority')) }
      },
    },
    {
      method: 'POST',
      path: '/api/keys/rekey/confirm',
      summary: 'A threshold of the new shares puts them in the place of the old ones',
      access: local,
      body: object({ shares: listOf(share) }),
      answer: status,
      handle: async (call) => {
        demandLocal(call)
        await barrier.confirmRekey(texts(call, 'shares'))
        return barrier.status()
      },
    },
    {
      method: 'POST',
      path: '/api/keys/rekey/cancel',
      summary: 'Forgets new shares that were not confirmed',
      access: local,
      body: object({}),
      answer: status,
      handle: async (call) => {
        demandLocal(call)
        await barrier.cancelRekey()
        return barrier.status()
      },
    },
  ]
}

/** Shares never cross a network, nor a browser. */
function demandLocal({ principal }: ApiCall): void {
  if (principal.kind === 'local') return
  throw new SallyportError('SP_API_LOCAL', 'shares are taken over the admin socket only', {
    fix: 'use `sallyport unseal` and `sallyport keys` on the machine of the control plane',
  })
}

function texts({ body }: ApiCall, name: string): string[] {
  const value = body[name]
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : []
}
