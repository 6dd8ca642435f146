import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Network, Settings } from '@sallyport/network'
import { addressOf, endsOf, isBound, isLive, userAgentOf } from '../src/domain/session-rules.ts'
import type { SessionRow } from '../src/domain/session-rules.ts'
import { declarationWith } from './support/declaration.ts'

const NOW = 1_800_000_000_000
const network = (settings: Partial<Settings> = {}): Network => {
  const base = declarationWith().network
  return { ...base, settings: { ...base.settings, ...settings } }
}
const row = (over: Partial<SessionRow> = {}): SessionRow => ({
  id: 'ses_1',
  operator: 'alice',
  method: 'passkey',
  credential_id: 'c',
  ...{ provider: null, subject: null, display_name: null, groups: null },
  user_agent: 'Firefox',
  address: '192.0.2.7',
  started_at: NOW,
  last_used: NOW,
  ...over,
})

test('a session is bound to its browser; where declared, to its network address too', () => {
  const here = { userAgent: 'Firefox', address: '192.0.2.7' }
  const elsewhere = { ...here, address: '198.51.100.1' }
  assert.equal(isBound(row(), here, network()), true)
  assert.equal(isBound(row(), elsewhere, network()), true)
  assert.equal(isBound(row(), { ...here, userAgent: 'curl' }, network()), false)
  const tied = network({ sessionBinding: 'address' })
  assert.equal(isBound(row(), here, tied), true)
  assert.equal(isBound(row(), elsewhere, tied), false)
  // IPv6 hosts change the lower half at will; IPv4 looks different on a socket for both.
  const six = row({ address: addressOf({ ...here, address: '2001:db8:1:2::7' }) })
  assert.equal(isBound(six, { ...here, address: '2001:db8:1:2:ffff::1' }, tied), true)
  assert.equal(isBound(six, { ...here, address: '2001:db8:1:3::7' }, tied), false)
  assert.equal(isBound(row(), { ...here, address: '::ffff:192.0.2.7' }, tied), true)
  const local = row({ address: addressOf({ ...here, address: '::1' }) })
  assert.equal(isBound(local, { ...here, address: '127.0.0.1' }, tied), true)
  assert.equal(isBound(local, here, tied), false)
})

test('long names of browsers are compared by their beginning, and hold no NUL', () => {
  const long = 'x'.repeat(10_000)
  assert.equal(userAgentOf({ userAgent: long, address: '' }).length, 512)
  assert.equal(userAgentOf({ userAgent: 'a\0b', address: '' }), 'a\uFFFDb')
})

test('settings count at once: a life or an idle time that was shortened ends what is open', () => {
  const minutes = (n: number): number => n * 60_000
  const used = row({ last_used: NOW + minutes(20) })
  assert.deepEqual(endsOf(used, network()), {
    expiresAt: NOW + minutes(480),
    idleAt: NOW + minutes(35),
  })
  const at = NOW + minutes(30)
  assert.equal(isLive(used, network(), at), true)
  assert.equal(isLive(used, network({ sessionMinutes: 30 }), at), false)
  assert.equal(isLive(used, network({ sessionMinutes: 31 }), at), true)
  assert.equal(isLive(used, network({ sessionIdleMinutes: 10 }), at), false)
  assert.equal(isLive(used, network({ sessionIdleMinutes: 11 }), at), true)
})
