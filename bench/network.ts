/** Figures of the walking network. Arguments name parts to run; all of them otherwise. */
import { benchAudit } from './network/audit.ts'
import { benchConsole } from './network/console.ts'
import { benchDetection } from './network/detection.ts'
import { startHarness } from './network/harness.ts'
import { benchLaunch } from './network/launch.ts'
import { benchQuarantine } from './network/quarantine.ts'
import { benchRotation } from './network/rotation.ts'
import { benchStartup } from './network/startup.ts'
import { benchWholePath } from './network/wholePath.ts'
import { runParts } from './parts.ts'
import type { Part } from './parts.ts'
import type { Row } from './row.ts'

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

export const run = (args: readonly string[]): Promise<Row[]> => runParts(PARTS, args)
