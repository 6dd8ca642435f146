import { closeCedar } from '@sallyport/cedar'
import type { Row } from './row.ts'

type Note = (text: string) => void
export type Part = (note: Note) => Promise<readonly Row[]>

/**
 * Runs the parts of a bench, all of them or those that are named.
 *
 * @throws Error where there is no such part: a name that is mistyped must not print an empty result
 */
export async function runParts(
  parts: Readonly<Record<string, Part>>,
  args: readonly string[],
): Promise<Row[]> {
  const unknown = args.find((name) => !Object.hasOwn(parts, name))
  if (unknown !== undefined) {
    const known = Object.keys(parts).join(', ')
    throw new Error(`there is no part \`${unknown}\`; there are: ${known}`)
  }
  const note: Note = (text) => {
    process.stderr.write(`bench: ${text}\n`)
  }
  const rows: Row[] = []
  try {
    for (const [name, part] of Object.entries(parts)) {
      if (args.length === 0 || args.includes(name)) rows.push(...(await part(note)))
    }
  } finally {
    await closeCedar()
  }
  return rows
}
