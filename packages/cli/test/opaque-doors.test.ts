import assert from 'node:assert/strict'
import test from 'node:test'
import { opaqueOf } from '../src/commands/opaque-doors.ts'

const NETWORK = {
  systems: [
    { name: 'mainframe', protocol: 'opaque' },
    { name: 'vault', protocol: 'opaque' },
    { name: 'bank', protocol: 'http' },
  ],
  flows: [
    { from: 'teller', to: 'mainframe' },
    { from: 'teller', to: 'bank' },
    { from: 'clerk', to: 'mainframe' },
    { from: 'clerk', to: 'vault' },
    { from: 'reader', to: 'vault' },
  ],
}

const doors = (opaque: readonly string[], opaquePort: readonly string[] = [], as = 'teller') =>
  opaqueOf({ as, opaque, opaquePort }, NETWORK, () => undefined).opaque?.systems

test('doors lead where a flow does, to loopback only where a port is given', () => {
  const target = { host: '127.0.0.1', port: 7403 }
  assert.deepEqual(doors(['mainframe=127.0.0.1:7403']), { mainframe: { target } })
  assert.deepEqual(doors(['mainframe=127.0.0.1:7403'], ['mainframe=1414']), {
    mainframe: { target, port: 1414 },
  })
  assert.equal(doors([]), undefined)
})

test('what names no address is no door', () => {
  assert.throws(() => doors(['mainframe']), /`mainframe` is no system and address/)
})

const BOTH = ['mainframe=127.0.0.1:1', 'vault=127.0.0.1:2']

test('two systems have a port each', () => {
  const found = doors(BOTH, ['mainframe=1', 'vault=2'], 'clerk')
  assert.deepEqual([found?.['mainframe']?.port, found?.['vault']?.port], [1, 2])
})

for (const [what, opaque, ports, as] of [
  ['a system that is read', ['bank=127.0.0.1:1'], []],
  ['a system of another agent', ['vault=127.0.0.1:1'], []],
  ['a system that is not declared', ['safe=127.0.0.1:1'], []],
  ['an agent without the flow', ['mainframe=127.0.0.1:1'], [], 'reader'],
  ['no address', ['mainframe'], []],
  ['one system twice', ['mainframe=127.0.0.1:1', 'mainframe=127.0.0.1:2'], []],
  ['a port of no door', [], ['mainframe=1414']],
  ['port 0', ['mainframe=127.0.0.1:1'], ['mainframe=0']],
  ['a port that is none', ['mainframe=127.0.0.1:1'], ['mainframe=65536']],
  ['a port without a system', ['mainframe=127.0.0.1:1'], ['1414']],
  ['two ports for one system', ['mainframe=127.0.0.1:1'], ['mainframe=1', 'mainframe=2']],
  ['one port for two systems', BOTH, ['mainframe=1', 'vault=1'], 'clerk'],
] as const) {
  test(`refused: ${what}`, () => {
    assert.throws(() => doors(opaque, ports, as), { code: 'SP_USAGE_OPAQUE' })
  })
}

test('an address without a port is no address', () => {
  assert.throws(() => doors(['mainframe=127.0.0.1']), { code: 'SP_USAGE_ADDRESS' })
})
