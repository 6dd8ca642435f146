/**
 * `npm test`: every unit, property and end-to-end test with Node's own runner. Arguments narrow it to some globs.
 *
 * Two test files at a time keep two processors busy. Beside them go, one after the other, those that mostly wait: for identities of
 * seconds to end, for a grace, for a connection that is given up. What these say is shown once all others are done.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const ROOT = join(import.meta.dirname, '..')
const EVERY = ['packages/*/test/**/*.test.ts', 'examples/*/test/**/*.test.ts', 'test/**/*.test.ts']
/** None uses more than about half a processor, most a sixth, and together they take less time than all others in two lanes. */
const WAITING: readonly string[] = [
  'packages/agent/test/client.test.ts',
  'packages/agent/test/enrol.test.ts',
  'packages/control/test/rotations.test.ts',
  'packages/control/test/secrets.test.ts',
  'packages/control/test/store.test.ts',
  'packages/gateway/test/containment.test.ts',
  'packages/gateway/test/h2-slow.test.ts',
  'packages/gateway/test/h2.test.ts',
  'packages/gateway/test/idle.test.ts',
  'packages/gateway/test/load-tools.test.ts',
  'packages/gateway/test/smuggling.test.ts',
  'packages/gateway/test/uploads.test.ts',
  'test/failure-rules.test.ts',
  'test/federated-callers.test.ts',
  'test/key-rotation.test.ts',
  'test/mcp-hostile-server.test.ts',
  'test/roots.test.ts',
].map((file) => join(ROOT, file))

/** @returns what it wrote, where that is kept, and whether all tests held */
async function run(
  files: readonly string[],
  concurrency: number,
  shown: 'now' | 'later',
): Promise<{ readonly held: boolean; readonly said: string }> {
  const child = spawn(
    process.execPath,
    [
      '--test',
      `--test-concurrency=${concurrency}`,
      `--import=${pathToFileURL(join(import.meta.dirname, 'seeded.ts')).href}`,
      ...files,
    ],
    {
      stdio: ['inherit', shown === 'now' ? 'inherit' : 'pipe', 'inherit'],
      env: {
        // Hundreds of processes load the same modules: stripped and compiled ones are kept, a third of all the processor time.
        NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/tests'),
        ...process.env,
      },
    },
  )
  let said = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const [code] = await once(child, 'close')
  return { held: code === 0, said }
}

const asked = process.argv.slice(2)
if (asked.length > 0) {
  process.exitCode = (await run(asked, 2, 'now')).held ? 0 : 1
} else {
  const every = globSync(EVERY, { cwd: ROOT }).map((file) => resolve(ROOT, file))
  const gone = WAITING.filter((file) => !every.includes(file))
  if (gone.length > 0) throw new Error(`no test file: ${gone.join(', ')}`)
  const busy = every.filter((file) => !WAITING.includes(file))
  const [others, waiting] = await Promise.all([run(busy, 2, 'now'), run(WAITING, 1, 'later')])
  process.stdout.write(`\nTests that mostly wait:\n${waiting.said}`)
  process.exitCode = others.held && waiting.held ? 0 : 1
}
