import { isObject } from './input-type.ts'
import { follow } from './openapi-parts.ts'
import type { Resolve } from './openapi-parts.ts'
import { Halt } from './problem.ts'

/** What one JSON text a line is called. */
const LINES: ReadonlySet<string> = new Set([
  'application/x-ndjson',
  'application/ndjson',
  'application/jsonl',
  'application/x-jsonlines',
])

export const isLinesType = (type: string): boolean => LINES.has(type)

/** The media types of one JSON text a line that the successful answers of an operation may have. */
export function linesOf(
  operation: Readonly<Record<string, unknown>>,
  resolve: Resolve,
): readonly string[] {
  const responses = operation['responses']
  if (!isObject(responses)) return []
  const types = Object.entries(responses).flatMap(([status, given]) =>
    /^(?:2(?:\d\d|XX)|default)$/.test(status) ? typesOf(given, resolve) : [],
  )
  return [...new Set(types)].filter(isLinesType).toSorted()
}

function typesOf(given: unknown, resolve: Resolve): string[] {
  try {
    const { content } = follow(given, resolve)
    if (!isObject(content)) return []
    return Object.keys(content).map((type) => type.split(';')[0]?.trim().toLowerCase() ?? '')
  } catch (error) {
    // What is said of answers so that nobody understands it declares none.
    if (error instanceof Halt) return []
    throw error
  }
}
