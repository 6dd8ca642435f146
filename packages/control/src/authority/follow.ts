import { canonicalJson } from '@sallyport/base'
import type { IdentityHolder } from '@sallyport/transport'
import type { Publisher } from '../domain/publisher.ts'
import type { Trust } from '../trust.ts'
import type { Authority } from './authority.ts'
import type { RootKeeper } from './roots.ts'

const EVERY_MS = 30_000

/**
 * Keeps up with changes of roots: with those that bundles tell of at once, and before long with another control plane that put one in
 * use.
 *
 * @returns what ends it
 */
export async function followRoots(deps: {
  readonly roots: RootKeeper
  readonly trust: Trust
  readonly publisher: Publisher
  readonly issuer: Authority
  readonly identity: { readonly holder: IdentityHolder; refresh(): Promise<void> }
  readonly onError: (error: unknown) => void
}): Promise<() => void> {
  const { roots, trust, publisher, issuer, identity, onError } = deps
  let root = issuer.root
  roots.follow(async (next) => {
    await issuer.useRoot(next)
    const { rootsPem } = identity.holder.current()
    if (root === issuer.root && rootsPem === trust.rootsPem) return
    await identity.refresh()
    root = issuer.root
  })
  const sync = (): void => void roots.sync().catch(onError)
  let known = canonicalJson(publisher.current().bundle.roots ?? null)
  const unsubscribe = publisher.onChange(({ bundle }) => {
    const now = canonicalJson(bundle.roots ?? null)
    if (now === known) return
    known = now
    sync()
  })
  const timer = setInterval(sync, EVERY_MS).unref()
  await roots.sync()
  return () => {
    unsubscribe()
    clearInterval(timer)
  }
}
