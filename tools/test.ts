/** `npm test`: every unit, property and end-to-end test with Node's own runner. Arguments narrow it to some globs. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const globs = process.argv.slice(2)
const result = spawnSync(
  process.execPath,
  [
    '--test',
    '--test-concurrency=2',
    `--import=${pathToFileURL(join(import.meta.dirname, 'seeded.ts')).href}`,
    ...(globs.length > 0
      ? globs
      : ['packages/*/test/**/*.test.ts', 'examples/*/test/**/*.test.ts', 'test/**/*.test.ts']),
  ],
  {
    stdio: 'inherit',
    env: {
      // Hundreds of processes load the same modules: stripped and compiled ones are kept, a third of all the processor time.
      NODE_COMPILE_CACHE: join(import.meta.dirname, '../node_modules/.cache/tests'),
      ...process.env,
    },
  },
)
process.exitCode = result.status ?? 1
