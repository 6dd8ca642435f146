import { timingSafeEqual } from 'node:crypto'
import { router, text } from './http.ts'
import type { Handler } from './http.ts'

/** Invented entries; some are near the invented customers' names on purpose. */
const LISTED = [
  { listId: 'WL-0107', name: 'Dario Castro' },
  { listId: 'WL-0233', name: 'Elif Farkas' },
  { listId: 'WL-0419', name: 'Viktor Ostrov' },
]

const bigrams = (name: string): Set<string> => {
  const clean = name
    .normalize('NFKD')
    .toLowerCase()
    .replaceAll(/[^a-z ]/g, '')
  return new Set(
    Array.from({ length: Math.max(0, clean.length - 1) }, (_, i) => clean.slice(i, i + 2)),
  )
}

/** Dice similarity of two names' letter pairs, 0 to 100. */
function similarity(a: string, b: string): number {
  const [one, two] = [bigrams(a), bigrams(b)]
  if (one.size + two.size === 0) return 0
  return Math.round((200 * one.intersection(two).size) / (one.size + two.size))
}

/** A list provider outside the bank: knows nothing of SVIDs, wants its API key in `x-api-key`. */
export function watchlist(apiKey: string): Handler {
  const routes = router([
    {
      method: 'POST',
      path: '/v1/screen',
      answer: ({ body }) => {
        const name = text(body, 'name')
        const matches = LISTED.map((entry) => ({ ...entry, score: similarity(name, entry.name) }))
        return { matches: matches.filter((entry) => entry.score >= 70) }
      },
    },
  ])
  const expected = Buffer.from(apiKey)
  return async (request) => {
    const given = Buffer.from(request.headers.get('x-api-key') ?? '')
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      return Response.json(
        { title: 'the API key is missing or wrong', status: 401 },
        { status: 401 },
      )
    }
    return await routes(request)
  }
}
