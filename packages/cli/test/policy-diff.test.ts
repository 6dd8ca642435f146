import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

const BIN = join(import.meta.dirname, '../bin/sallyport.ts')
const MERIDIAN = join(import.meta.dirname, '../../../examples/meridian')

const run = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [BIN, 'policy', 'diff', ...args], { encoding: 'utf8' })

test('policy diff: what a changed threshold of Meridian newly allows, by exit code and by request', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sp-diff-'))
  t.after(() => {
    rmSync(dir, { recursive: true, force: true })
  })
  const changed = (name: string, amount: string): string => {
    const copy = join(dir, name)
    for (const part of ['network.yaml', 'policies', 'openapi', 'mcp']) {
      cpSync(join(MERIDIAN, part), join(copy, part), { recursive: true })
    }
    const file = join(copy, 'policies/30-holds.cedar')
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll('1000000', amount))
    return copy
  }
  const wider = run(MERIDIAN, changed('wider', '2000000'), '--widening-only')
  assert.equal(wider.status, 1, wider.stderr)
  assert.match(wider.stdout, /NEWLY ALLOWED {2}account-flagger → core-banking\.placeHold/)
  assert.match(wider.stdout, /"amount":1000001,/)
  assert.doesNotMatch(wider.stdout, /NEWLY DENIED|UNDECIDED/)

  const narrower = changed('narrower', '500000')
  // What a lower threshold takes away can still be had with an approval, so it takes one away.
  const less = run(MERIDIAN, narrower, '--json')
  assert.equal(less.status, 1, less.stderr)
  // The command's own documented output.
  const report = JSON.parse(less.stdout) as Record<string, unknown[]>
  assert.deepEqual([report['newlyAllowed']?.length, report['newlyDenied']?.length], [0, 1])
  assert.deepEqual(report['structure'], [])
  assert.equal(run(MERIDIAN, narrower, '--widening-only').status, 0)

  const same = run(join(MERIDIAN, 'network.yaml'), MERIDIAN)
  assert.equal(same.status, 0, same.stderr)
  assert.match(same.stdout, /verdict {2}equivalent: (\d+) of \1 questions/)
  assert.equal(run(MERIDIAN, join(dir, 'nowhere')).status, 3)
})
