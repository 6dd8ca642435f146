import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '@sallyport/base'
import { openAuthority } from './authority.ts'
import type { Authority, RootOfAuthority } from './authority.ts'
import { ownerIn, providedKeys } from './keys.ts'
import type { AuthorityKeys } from './keys.ts'
import type { Trust } from '../trust.ts'

/** How often it is looked whether a step is due; whatever is issued looks as well. */
const EVERY_MS = 30_000

/**
 * The signing authority of a control plane, which rotates by itself. Several on one database have one each: all stand below the one
 * active root. The keys of signing certificates are where the network's keys are: files, files under the barrier, or a token.
 *
 * @throws SallyportError as `openAuthority`
 */
export async function mountAuthority(deps: {
  readonly dataDir: string
  readonly trust: Pick<Trust, 'provider'>
  readonly root: RootOfAuthority
  readonly clock: Clock
  readonly onError: (error: unknown) => void
}): Promise<{ readonly authority: Authority; stop(): void }> {
  const { root, clock, onError } = deps
  const folder = join(deps.dataDir, 'control', 'authority')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const authority = await openAuthority({
    folder,
    keys: keysIn(folder, deps),
    root,
    clock,
    onError,
  })
  const timer = setInterval(() => void authority.tick().catch(onError), EVERY_MS).unref()
  return { authority, stop: () => clearInterval(timer) }
}

function keysIn(
  folder: string,
  { trust }: { readonly trust: Pick<Trust, 'provider'> },
): AuthorityKeys {
  const { shared, provider } = trust.provider(folder)
  return providedKeys(provider, shared ? `signing-${ownerIn(folder)}-` : '')
}
