import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { it } from 'node:test'
import { setTimeout } from 'node:timers/promises'

const LOOP = `
const { matchesPattern } = await import('./packages/decide/src/pattern.ts')
const text = 'ab-'.repeat(1300) + '1'
let wrong = 0
matchesPattern('^([a-z]+-)+[0-9]$', text)
process.stdout.write('ready')
process.on('SIGTERM', () => { console.log(wrong); process.exit() })
for (;;) {
  for (let i = 0; i < 200; i++) if (!matchesPattern('^([a-z]+-)+[0-9]$', text)) wrong++
  await new Promise((resolve) => setImmediate(resolve))
}`

it('takes a process that was not let run for no slow pattern', async () => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', LOOP], {
    cwd: `${import.meta.dirname}/../../..`,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  const ready = new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString()
      resolve()
    })
  })
  const ended = new Promise((resolve) => child.on('exit', resolve))
  try {
    await ready
    // Longer than a match may take; where it is caught, it is nearly always within one.
    for (let i = 0; i < 10; i++) {
      child.kill('SIGSTOP')
      await setTimeout(200)
      child.kill('SIGCONT')
      await setTimeout(30)
    }
  } finally {
    child.kill('SIGTERM')
    await ended
  }
  assert.equal(said, 'ready0\n')
})
