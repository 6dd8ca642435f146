/** Figures of identity. Arguments name parts to run; all of them otherwise. */
import { benchCopied } from './identity/copied.ts'
import { benchIssue } from './identity/issue.ts'
import { benchCutOff, benchRevocation } from './identity/revocation.ts'
import { benchRollover } from './identity/rollover.ts'
import { benchVerify } from './identity/verify.ts'
import { runParts } from './parts.ts'
import type { Part } from './parts.ts'
import type { Row } from './row.ts'

const PARTS: Readonly<Record<string, Part>> = {
  issue: benchIssue,
  verify: benchVerify,
  revocation: benchRevocation,
  cutoff: benchCutOff,
  rollover: benchRollover,
  copied: benchCopied,
}

export const run = (args: readonly string[]): Promise<Row[]> => runParts(PARTS, args)
