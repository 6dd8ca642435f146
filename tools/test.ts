/** `npm test`: every unit, property and end-to-end test with Node's own runner. Arguments narrow it to some globs. */
import { spawnSync } from 'node:child_process'

const globs = process.argv.slice(2)
const result = spawnSync(
  process.execPath,
  [
    '--test',
    '--test-concurrency=2',
    ...(globs.length > 0
      ? globs
      : ['packages/*/test/**/*.test.ts', 'examples/*/test/**/*.test.ts', 'test/**/*.test.ts']),
  ],
  { stdio: 'inherit' },
)
process.exitCode = result.status ?? 1
