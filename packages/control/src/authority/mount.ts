import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '@sallyport/base'
import type { CertificateSigner } from '@sallyport/spiffe'
import { openAuthority, rootAuthority } from './authority.ts'
import type { Authority } from './authority.ts'
import { fileKeys } from './keys.ts'

/** How often it is looked whether a step is due; whatever is issued looks as well. */
const EVERY_MS = 30_000

/**
 * The signing authority of a control plane, which rotates by itself. Several on one database have one each: all stand below the one
 * root. Where keys are not kept in files, the root signs itself: a key on disk below one in a token would undo the token.
 *
 * @throws SallyportError as `openAuthority`
 */
export function mountAuthority(deps: {
  readonly dataDir: string
  readonly trust: { readonly rootsPem: string; readonly ca: CertificateSigner }
  readonly kind: string
  readonly clock: Clock
  readonly onError: (error: unknown) => void
}): { readonly authority: Authority; stop(): void } {
  const root = { certificatePem: deps.trust.rootsPem, signer: deps.trust.ca }
  if (deps.kind !== 'software') return { authority: rootAuthority(root), stop: () => undefined }
  const folder = join(deps.dataDir, 'control', 'authority')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const authority = openAuthority({ folder, keys: fileKeys(folder), root, clock: deps.clock })
  const timer = setInterval(() => {
    try {
      authority.tick()
    } catch (error) {
      deps.onError(error)
    }
  }, EVERY_MS).unref()
  return { authority, stop: () => clearInterval(timer) }
}
