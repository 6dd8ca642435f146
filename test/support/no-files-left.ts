/** Starts a program of MCP where this process can open no file any more, and prints what came of it. */
import { closeSync, openSync } from 'node:fs'
import { errorCode, systemClock } from '@sallyport/base'
import type { Audit } from '../../packages/gateway/src/audit/audit.ts'
import { DEFAULT_SETTINGS } from '../../packages/gateway/src/settings.ts'
import { findApart } from '../../packages/gateway/src/upstream/apart.ts'
import { Programs } from '../../packages/gateway/src/upstream/programs.ts'

// All that is told of it.
const audit = { event: () => undefined, boundedEvent: () => true } as unknown as Audit
const programs = new Programs({
  ...{ audit, clock: systemClock, settings: DEFAULT_SETTINGS },
  ...{ hide: [], log: () => undefined },
})
await findApart([])
const declared = { kind: 'program', command: process.execPath, args: ['-v'], env: {} } as const
const open: number[] = []
try {
  for (;;) open.push(openSync('/dev/null', 'r'))
} catch {
  // None is left.
}
const came = await programs.start('tools', declared, 'i').then(
  () => 'started',
  (error: unknown) => errorCode(error),
)
for (const file of open) closeSync(file)
process.stdout.write(`${came} ${programs.size}\n`)
programs.close()
