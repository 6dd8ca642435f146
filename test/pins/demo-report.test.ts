/** The members of the report that a headless run prints, as frozen text: READMEs, CI and benches read them by name. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { DemoReport } from '../../packages/cli/src/demo/options.ts'
import { members } from '../../packages/cli/src/shape.ts'

const BIN = join(import.meta.dirname, '../../packages/cli/bin/sallyport.ts')

const REPORT = [
  ...(['agents', 'calls', 'decisions', 'rings', 'holds', 'rotations', 'failedCalls'] as const),
  ...(['attack', 'audit', 'network', 'simulatedOperator', 'quorum'] as const),
] as const
const ATTACK = [
  ...(['name', 'attempts', 'refused', 'byLayer', 'recordsExposed'] as const),
  ...(['recordsReadWithinProjection', 'timeToFlagMs', 'timeToContainMs'] as const),
  'callsAfterContainment',
] as const

type Same<A, B> = [A, B] extends [B, A] ? true : false
// `npm run typecheck` refuses a report that has another member, or lacks one.
const sameReport: Same<keyof DemoReport, (typeof REPORT)[number]> = true
const sameAttack: Same<keyof NonNullable<DemoReport['attack']>, (typeof ATTACK)[number]> = true

test('a headless run prints one JSON document with exactly these members', (t) => {
  assert.ok(sameReport && sameAttack)
  // In a network namespace of its own: its ports are fixed, and may be in use.
  const apart = [
    ['unshare', '-n'],
    ['unshare', '-Urn'],
  ].find(
    ([command = '', ...args]) =>
      spawnSync(command, [...args, 'ip', 'link', 'set', 'lo', 'up']).status === 0,
  )
  if (!apart) {
    t.skip('this machine lets nobody make a network namespace')
    return
  }
  const data = mkdtempSync(join(tmpdir(), 'sp-demo-'))
  t.after(() => rmSync(data, { recursive: true, force: true }))
  const [command = '', ...args] = [
    ...[...apart, 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', process.execPath, BIN],
    ...['demo', '--headless', '--json', '--duration', '2s', '--attack', 'none'],
    ...['--isolate', 'off', '--data', join(data, 'demo')],
  ]
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  // What is printed for this very command, whole.
  const report = JSON.parse(stdout) as Parameters<typeof members>[0]
  assert.deepEqual(Object.keys(members(report)).toSorted(), [...REPORT].toSorted())
  const inside = (name: string): string[] => Object.keys(members(members(report)[name])).toSorted()
  assert.deepEqual(inside('decisions'), ['allow', 'deny', 'needs'])
  assert.deepEqual(inside('rings'), ['found', 'present'])
  assert.deepEqual(inside('holds'), ['approved', 'requested'])
  assert.deepEqual(inside('audit'), ['records', 'statement', 'verified'])
  assert.equal(members(report).attack, null)
})
