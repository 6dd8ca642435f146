import type { ReactNode } from 'react'
import { count } from '../lib/format.ts'

/** Rows of a table drawn at first, and added by each press. */
export const STEP = 100

/** What draws more of a long table. */
export function More(props: { rows: number; drawn: number; draw: (n: number) => void }): ReactNode {
  const { rows, drawn, draw } = props
  if (rows <= drawn) return null
  return (
    <p className="panel-text">
      <button type="button" className="link" onClick={() => draw(drawn + STEP)}>
        Show {count(Math.min(STEP, rows - drawn))} more of {count(rows - drawn)}
      </button>
    </p>
  )
}
