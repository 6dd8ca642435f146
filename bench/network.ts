/** Figures of the walking network. Arguments name parts to run; all of them otherwise. */
import { closeCedar } from '@sallyport/cedar'
import { benchAudit } from './network/audit.ts'
import { benchConsole } from './network/console.ts'
import { benchDetection } from './network/detection.ts'
import { startHarness } from './network/harness.ts'
import { benchLaunch } from './network/launch.ts'
import { benchQuarantine } from './network/quarantine.ts'
import { benchRotation } from './network/rotation.ts'
import { benchStartup } from './network/startup.ts'
import { benchWholePath } from './network/wholePath.ts'
import type { Row } from './row.ts'

type Part = (note: (text: string) => void) => Promise<readonly Row[]>

const onHarness =
  (
    run: (
      harness: Awaited<ReturnType<typeof startHarness>>,
      note: (text: string) => void,
    ) => Promise<Row[]>,
  ): Part =>
  async (note) => {
    const harness = await startHarness(note)
    try {
      return await run(harness, note)
    } finally {
      await harness.stop()
    }
  }

const PARTS: Readonly<Record<string, Part>> = {
  startup: benchStartup,
  detection: benchDetection,
  path: benchWholePath,
  quarantine: onHarness(benchQuarantine),
  rotation: onHarness(benchRotation),
  launch: onHarness(benchLaunch),
  console: onHarness(benchConsole),
  audit: benchAudit,
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
