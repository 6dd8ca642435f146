/** Figures of identity. Arguments name parts to run; all of them otherwise. */
import { closeCedar } from '@sallyport/cedar'
import { benchCopied } from './identity/copied.ts'
import { benchIssue } from './identity/issue.ts'
import { benchCutOff, benchRevocation } from './identity/revocation.ts'
import { benchRollover } from './identity/rollover.ts'
import { benchVerify } from './identity/verify.ts'
import type { Row } from './row.ts'

type Part = (note: (text: string) => void) => Promise<readonly Row[]>

const PARTS: Readonly<Record<string, Part>> = {
  issue: benchIssue,
  verify: benchVerify,
  revocation: benchRevocation,
  cutoff: benchCutOff,
  rollover: benchRollover,
  copied: benchCopied,
}

export async function run(args: readonly string[]): Promise<Row[]> {
  const rows: Row[] = []
  const note = (text: string): void => {
    process.stderr.write(`bench: ${text}\n`)
  }
  try {
    for (const [name, part] of Object.entries(PARTS)) {
      if (args.length === 0 || args.includes(name)) rows.push(...(await part(note)))
    }
  } finally {
    await closeCedar()
  }
  return rows
}
