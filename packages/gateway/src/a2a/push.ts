import { newId } from '@sallyport/base'
import type { A2aSystem } from '@sallyport/network'
import { Refusal } from '../refusal.ts'
import type { PushConfig } from './read.ts'

/**
 * Where a peer is told to push to, it will send what it likes, without any gateway: only to places that are declared.
 *
 * @throws Refusal `SP_A2A_PUSH`
 */
export function demandPush(
  a2a: A2aSystem,
  config: PushConfig,
): PushConfig & { readonly id: string } {
  if (!a2a.push.includes(config.url)) {
    throw new Refusal('SP_A2A_PUSH', 'nothing may be pushed to this URL', {
      status: 403,
      outcome: 'not-permitted',
    })
  }
  return { ...config, id: config.id ?? newId('push') }
}
