import { useCallback, useEffect, useRef, useState } from 'react'
import { get } from '../api/client.ts'
import type { ApiError } from '../api/client.ts'
import type { DecisionRecord } from '../api/types.ts'

export interface DecisionFilter {
  readonly agent: string
  readonly system: string
  readonly decision: string
}

interface Pages {
  readonly older: readonly DecisionRecord[]
  readonly error: ApiError | undefined
  readonly loading: boolean
  /** Nothing older is left. */
  readonly end: boolean
  readonly more: () => void
}

const PAGE = 200

/** `GET /api/decisions` page by page, newest first; the next page follows the oldest record held. */
export function useDecisionPages(filter: DecisionFilter): Pages {
  const [older, setOlder] = useState<readonly DecisionRecord[]>([])
  const [error, setError] = useState<ApiError>()
  const [loading, setLoading] = useState(true)
  const [end, setEnd] = useState(false)
  const busy = useRef(false)
  const before = useRef('')

  const more = useCallback(() => {
    if (busy.current) return
    busy.current = true
    setLoading(true)
    const query = new URLSearchParams({ limit: String(PAGE) })
    if (filter.agent !== '') query.set('agent', filter.agent)
    if (filter.system !== '') query.set('system', filter.system)
    if (filter.decision !== '') query.set('decision', filter.decision)
    if (before.current !== '') query.set('before', before.current)
    get<readonly DecisionRecord[]>(`/decisions?${query}`)
      .then(
        (page) => {
          before.current = page.at(-1)?.id ?? before.current
          setError(undefined)
          setEnd(page.length < PAGE)
          setOlder((held) => {
            const known = new Set(held.map(({ id }) => id))
            return [...held, ...page.filter(({ id }) => !known.has(id))]
          })
        },
        (failure: unknown) => {
          // `get` throws nothing else.
          setError(failure as ApiError)
          setEnd(true)
        },
      )
      .finally(() => {
        busy.current = false
        setLoading(false)
      })
  }, [filter.agent, filter.system, filter.decision])

  useEffect(() => {
    more()
  }, [more])
  return { older, error, loading, end, more }
}
