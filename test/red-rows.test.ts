/** The table of tools/red stays true: each check is still where it says, each test still there. Breaking them is `node tools/red.ts`. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { ROWS } from '../tools/red/rows.ts'
import { staleRows } from '../tools/red/run.ts'

const top = join(import.meta.dirname, '..')
const read = (file: string): string => readFileSync(join(top, file), 'utf8')

/** What the list of docs/identity/must-reject.md has to have under each number, whatever else is there. */
const DEMANDED: Readonly<Record<number, readonly string[]>> = {
  1: [
    ...['two-uris', 'ca', 'key-cert-sign', 'crl-sign', 'no-key-usage', 'no-path', 'https'],
    ...['no-uri', 'dots', 'foreign', 'resumption', 'alpn', 'expiry'],
  ],
  2: ['claims.client', 'claims.server', 'both-bundles', 'misfiled', 'jwt'],
  3: ['pid-reuse'],
  4: ['none', 'hs', 'mismatch', 'crit', 'typ', 'json'],
  5: ['stripped', 'unverifiable'],
  6: ['disabled-agent', 'operator', 'operator-sessions', 'provider', 'introspection'],
  7: ['namespaces', 'scope', 'audience', 'details'],
  8: ['certificate', 'replay', 'htm', 'htu', 'ath', 'nonce'],
  9: ['audience', 'passthrough', 'iss', 'consent-reuse', 'rebinding', 'transport', 'ssrf'],
  10: [
    'replay-use',
    'replay-signature',
    'edited',
    'self',
    'expired',
    'origin',
    'rp-id',
    'uv',
    'other-call',
  ],
  11: ['totp-reuse', 'dots', 'templated', 'wildcards', 'list', 'names', 'groups'],
  12: ['lease', 'lease-end', 'renewal', 'sql', 'sql-revoke'],
  13: ['plain', 'sink', 'csr'],
  14: ['path', 'nonce-cap', 'crash'],
}

test('every row breaks a text that stands exactly once in its file', () => {
  assert.ok(ROWS.length > 100)
  assert.deepEqual(staleRows(top, ROWS), [])
  // The control: a text that is not there is noticed.
  const [row] = ROWS
  assert.ok(row)
  assert.equal(staleRows(top, [{ ...row, from: 'no such text' }]).length, 1)
})

test('every row names a test that is there', () => {
  for (const { id, test: file, name } of ROWS) {
    const text = read(file).replaceAll("\\'", "'")
    const begins = name.endsWith('…') ? name.slice(0, -1) : name
    const templates = [...text.matchAll(/`([^`$]{8,})\$\{/g)].map(([, start = '']) => start)
    const there = text.includes(begins) || templates.some((start) => begins.startsWith(start))
    assert.ok(there, `${id}: ${file}: ${name}`)
  }
})

test('every threat of the list has its row, and each row a name of its own', () => {
  const ids = ROWS.map(({ id }) => id)
  assert.deepEqual(
    ids.filter((id, i) => ids.indexOf(id) !== i),
    [],
  )
  for (const [number, names] of Object.entries(DEMANDED)) {
    for (const name of names) assert.ok(ids.includes(`${number}.${name}`), `${number}.${name}`)
  }
})
