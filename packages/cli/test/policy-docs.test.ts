import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

const ROOT = join(import.meta.dirname, '../../..')
const BIN = join(ROOT, 'packages/cli/bin/sallyport.ts')
const page = readFileSync(join(ROOT, 'docs/policy/testing.md'), 'utf8')

/** What the page shows between its fences, in order, YAML left out. */
const [firstCommand, firstOutput, failing, coverageCommand, coverage] = [
  ...page.matchAll(/^```([a-z]*)\n([^]*?)\n```$/gm),
].flatMap(([, language, text]) => (language === '' ? [text] : []))

function output(command: string | undefined, cwd: string): string {
  const [program, ...args] = (command ?? '').replace(/^npx /, '').split(' ')
  assert.equal(program, 'sallyport')
  return spawnSync(process.execPath, [BIN, ...args], { cwd, encoding: 'utf8' }).stdout.trimEnd()
}

test('docs/policy/testing.md shows what the commands print', (t) => {
  assert.equal(output(firstCommand, ROOT), firstOutput)
  assert.equal(output(coverageCommand, ROOT), coverage)
  const dir = mkdtempSync(join(tmpdir(), 'sp-docs-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const meridian = join(dir, 'examples/meridian')
  cpSync(join(ROOT, 'examples/meridian'), meridian, {
    recursive: true,
    filter: (path) => !path.includes('node_modules'),
  })
  const policy = join(meridian, 'policies/30-holds.cedar')
  const text = readFileSync(policy, 'utf8')
  assert.ok(text.includes('amount <= 1000000 '))
  writeFileSync(policy, text.replace('amount <= 1000000 ', 'amount <= 1500000 '))
  assert.equal(output(firstCommand, dir), failing)
})
