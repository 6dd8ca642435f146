import { canonicalJson, parseJson, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Bundle, OperatorLink } from '@sallyport/wire'
import type { Tx } from '../store/store.ts'

export function readLink(text: string): OperatorLink {
  // Written by `people.ts`, after the chain rule allowed it.
  return parseJson(text) as unknown as OperatorLink
}

/** Every operator set, oldest first. */
export async function loadOperatorLinks(tx: Tx): Promise<OperatorLink[]> {
  const rows = await tx.selectFrom('operator_sets').select('link').orderBy('version').execute()
  return rows.map(({ link }) => readLink(link))
}

/** @returns whether the chain of operator sets became longer; its signatures were verified with the bundle */
export async function followLinks(
  tx: Tx,
  clock: Clock,
  carried: Bundle['operators'],
): Promise<boolean> {
  if (!carried) return false
  const { history = [], ...last } = carried
  const known = new Map((await loadOperatorLinks(tx)).map((link) => [link.set.version, link]))
  const links: readonly OperatorLink[] = [...history, last]
  let longer = false
  for (const link of links) {
    const own = known.get(link.set.version)
    if (own) {
      if (canonicalJson(own.set) === canonicalJson(link.set)) continue
      throw forked(link.set.version)
    }
    await tx
      .insertInto('operator_sets')
      .values({ version: link.set.version, link: canonicalJson(link), at: clock.now() })
      .execute()
    longer = true
  }
  return longer
}

function forked(version: number): SallyportError {
  return new SallyportError(
    'SP_STORE_FORKED',
    'operators were changed after the database was restored, and before its backup was known to be old',
    {
      detail: `two sets have version ${version}`,
      fix: 'restore a backup again, and let the gateways connect before operators are changed',
    },
  )
}
