import type { ReactNode } from 'react'
import { duration } from '../lib/format.ts'
import { useNow } from '../lib/now.ts'

/** How long something has lasted. */
export function Countup({ since }: { since: number }): ReactNode {
  return <span className="num">{duration(useNow() - since)}</span>
}
