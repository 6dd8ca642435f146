import type { ReactNode } from 'react'

/** Text in which backticks quote names and values, as every message of ours does. */
export function Prose({ children }: { children: string }): ReactNode {
  return children
    .split(/`([^`]+)`/)
    .map((part, i) => (i % 2 === 1 ? <code key={`${i} ${part}`}>{part}</code> : part))
}
