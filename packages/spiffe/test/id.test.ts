import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { agentId, controlId, gatewayId, kindOf, parseSpiffeId, serviceId } from '../src/index.ts'

const bad = { code: 'SP_SPIFFE_ID' }

describe('parseSpiffeId', () => {
  it('reads trust domain, path and segments', () => {
    assert.deepEqual(parseSpiffeId('spiffe://td.example-1_x/a/B.c/-_'), {
      uri: 'spiffe://td.example-1_x/a/B.c/-_',
      trustDomain: 'td.example-1_x',
      path: '/a/B.c/-_',
      segments: ['a', 'B.c', '-_'],
    })
    assert.deepEqual(parseSpiffeId('spiffe://td').segments, [])
  })

  // The rules of the SPIFFE-ID standard, sections 2.1 and 2.2, one text each.
  for (const text of [
    '',
    'spiffe',
    'spiffe:',
    'spiffe:/',
    'spiffe://',
    'spiffe:///path',
    'SPIFFE://td/a',
    'Spiffe://td/a',
    'https://td/a',
    ' spiffe://td/a',
    'spiffe://td/a ',
    'spiffe://TD/a',
    'spiffe://td:80/a',
    'spiffe://user@td/a',
    'spiffe://user:pw@td/a',
    'spiffe://td/a?q=1',
    'spiffe://td/a#f',
    'spiffe://td?q',
    'spiffe://td#f',
    'spiffe://td/',
    'spiffe://td/a/',
    'spiffe://td//a',
    'spiffe://td/a//b',
    'spiffe://td/.',
    'spiffe://td/..',
    'spiffe://td/a/./b',
    'spiffe://td/a/../b',
    'spiffe://td/%61',
    'spiffe://%74d/a',
    'spiffe://td/a%2fb',
    'spiffe://td/ä',
    'spiffe://tä/a',
    'spiffe://td/a\u0000',
    'spiffe://td/a\n',
    'spiffe://td/a b',
    'spiffe://td/a*',
    'spiffe://td/a,b',
    'spiffe://[::1]/a',
    'spiffe://td\\a',
    'spiffe://td/a\\b',
    'spiffe://td/a:b',
    'spiffe://td/ａ',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseSpiffeId(text), bad)
    })
  }

  it('holds the size limits exactly', () => {
    const td = 'a'.repeat(255)
    assert.equal(parseSpiffeId(`spiffe://${td}/x`).trustDomain, td)
    assert.throws(() => parseSpiffeId(`spiffe://${td}a/x`), bad)
    const fit = `spiffe://td/${'a'.repeat(2048 - 12)}`
    assert.equal(fit.length, 2048)
    assert.equal(parseSpiffeId(fit).uri, fit)
    assert.throws(() => parseSpiffeId(`${fit}a`), bad)
  })
})

describe('names of this product', () => {
  it('builds and recognises each kind', () => {
    assert.deepEqual(kindOf(parseSpiffeId(agentId('td', 'monitor', 'i1'))), {
      kind: 'agent',
      name: 'monitor',
      instance: 'i1',
    })
    assert.deepEqual(kindOf(parseSpiffeId(serviceId('td', 'core', '2'))), {
      kind: 'service',
      name: 'core',
      instance: '2',
    })
    assert.deepEqual(kindOf(parseSpiffeId(gatewayId('td', 'g1'))), { kind: 'gateway', name: 'g1' })
    assert.deepEqual(kindOf(parseSpiffeId(controlId('td', 'c1'))), { kind: 'control', name: 'c1' })
  })

  it('recognises nothing else', () => {
    for (const text of [
      'spiffe://td',
      'spiffe://td/agent',
      agentId('td', 'monitor'),
      serviceId('td', 'core'),
      'spiffe://td/agent/a/b/c',
      'spiffe://td/gateway/g/1',
      'spiffe://td/Gateway/g',
      'spiffe://td/admin/x',
    ]) {
      assert.equal(kindOf(parseSpiffeId(text)), undefined, text)
    }
  })

  it('refuses names that would change the shape of the id', () => {
    for (const name of ['a/b', '', '..', 'a b', 'ä', '*', 'a*', 'a,b', 'a?', '{a}']) {
      assert.throws(() => agentId('td', name, 'i'), bad, name)
      assert.throws(() => gatewayId('td', name), bad, name)
    }
  })
})
