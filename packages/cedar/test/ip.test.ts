import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { inRange, isLoopback, isMulticast, parseIp, renderIp } from '../src/ip.ts'
import { EvaluationError } from '../src/value.ts'

describe('addresses', () => {
  const taken: [text: string, v6: boolean, address: bigint, prefix: number][] = [
    ['0.0.0.0', false, 0n, 32],
    ['1.2.3.4', false, 0x01020304n, 32],
    ['255.255.255.255/0', false, 0xffffffffn, 0],
    ['10.20.30.40/8', false, 0x0a141e28n, 8],
    ['10.20.30.40/32', false, 0x0a141e28n, 32],
    ['10.0.100.199/31', false, 0x0a0064c7n, 31],
    ['::', true, 0n, 128],
    ['::1', true, 1n, 128],
    ['1::', true, 1n << 112n, 128],
    ['::/0', true, 0n, 0],
    ['::1/128', true, 1n, 128],
    ['2001:db8::aBcD/32', true, 0x20010db800000000000000000000abcdn, 32],
    ['1:2:3:4:5:6:7:8', true, 0x00010002000300040005000600070008n, 128],
    ['::2:3:4:5:6:7:8', true, 0x00000002000300040005000600070008n, 128],
    ['1:2:3:4:5:6:7::', true, 0x00010002000300040005000600070000n, 128],
    ['1:2:3::6:7:8', true, 0x00010002000300000000000600070008n, 128],
    ['ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/100', true, (1n << 128n) - 1n, 100],
  ]
  for (const [text, ...parts] of taken) {
    it(`reads ${text}`, () => {
      const { v6, address, prefix } = parseIp(text)
      assert.deepEqual([v6, address, prefix], parts)
    })
  }

  const refused = [
    '',
    '/',
    '/8',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '1.2.3.04',
    '1.2.3.256',
    '256.1.1.1',
    '1.2.3.1000',
    '1..3.4',
    '1.2.3.',
    ' 1.2.3.4',
    '1.2.3.4 ',
    '1.2.3.4x',
    'x1.2.3.4',
    '1.2.3.-4',
    '1.2.3.a',
    '1.2.3.4/',
    '1.2.3.4/33',
    '1.2.3.4/08',
    '1.2.3.4/00',
    '1.2.3.4/+8',
    '1.2.3.4/8x',
    '1.2.3.4/x8',
    '1.2.3.4/1/2',
    '1.2.3.4/1000',
    '1.2.3.4/-1',
    ':',
    ':::',
    ':1',
    '1:',
    '::1/129',
    '::1/1280',
    '::/00',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '1:2:3:4:5:6:7::8',
    '::1:2:3:4:5:6:7:8',
    '12345::',
    '::g',
    '::1g',
    '::g1',
    '::1%1',
    '::ffff:1.2.3.4',
    '0000:0000:0000:0000:0000:0000:0000:00001',
  ]
  for (const text of refused) {
    it(`refuses \`${text}\``, () => {
      assert.throws(() => parseIp(text), {
        name: 'EvaluationError',
        message: `\`${text}\` is not an IP address or range`,
      })
    })
  }

  it('reads nothing longer than the longest address with its prefix', () => {
    assert.equal(parseIp('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128').prefix, 128)
    assert.throws(
      () => parseIp('1'.repeat(1e6)),
      ({ message }: Error) => message.length < 100,
    )
    assert.throws(() => parseIp('0'.repeat(44)), EvaluationError)
  })

  const inside: [string, string, boolean][] = [
    ['10.1.2.3', '10.0.0.0/8', true],
    ['11.1.2.3', '10.0.0.0/8', false],
    ['10.1.2.3', '10.1.2.3', true],
    ['10.1.2.3', '10.1.2.2', false],
    ['10.1.2.2', '10.1.2.3/31', true],
    ['10.0.0.0/8', '10.0.0.0/8', true],
    ['10.0.0.0/7', '10.0.0.0/8', false],
    ['10.0.0.0/9', '10.0.0.0/8', true],
    ['10.0.0.0/8', '0.0.0.0/0', true],
    ['255.0.0.0', '0.0.0.0/0', true],
    ['::1', '::/0', true],
    ['::1', '::/127', true],
    ['::2', '::/127', false],
    ['::1', '0.0.0.0/0', false],
    ['0.0.0.1', '::/0', false],
    ['2001:db8:1::', '2001:db8::/32', true],
    ['2001:db9::', '2001:db8::/32', false],
    ['8000::', '::/1', false],
  ]
  for (const [a, b, expected] of inside) {
    it(`${a} is ${expected ? '' : 'not '}in ${b}`, () => {
      assert.equal(inRange(parseIp(a), parseIp(b)), expected)
    })
  }

  it('knows loopback and multicast, which hold all of a range or none', () => {
    const of = (test: typeof isLoopback, ...texts: string[]) =>
      texts.filter((t) => test(parseIp(t)))
    assert.deepEqual(
      of(isLoopback, '127.0.0.0', '127.255.255.255', '126.255.255.255', '128.0.0.0', '127.0.0.0/8'),
      ['127.0.0.0', '127.255.255.255', '127.0.0.0/8'],
    )
    assert.deepEqual(of(isLoopback, '127.0.0.0/7', '::1', '::', '::2', '::1/127', '::7f00:1'), [
      '::1',
    ])
    assert.deepEqual(
      of(
        isMulticast,
        '223.255.255.255',
        '224.0.0.0',
        '239.255.255.255',
        '240.0.0.0',
        '224.0.0.0/3',
      ),
      ['224.0.0.0', '239.255.255.255'],
    )
    assert.deepEqual(of(isMulticast, 'ff00::', 'ffff::1', 'fe00::', 'ff00::/7', '::e000:1'), [
      'ff00::',
      'ffff::1',
    ])
  })

  it('writes an address so that it reads as the same one', () => {
    assert.equal(renderIp(parseIp('1.20.255.0')), '1.20.255.0')
    assert.equal(renderIp(parseIp('10.0.0.0/8')), '10.0.0.0/8')
    assert.equal(renderIp(parseIp('10.0.0.0/32')), '10.0.0.0')
    assert.equal(renderIp(parseIp('2001:DB8::1:0')), '2001:db8:0:0:0:0:1:0')
    assert.equal(renderIp(parseIp('ff00::/8')), 'ff00:0:0:0:0:0:0:0/8')
    assert.equal(renderIp(parseIp('::1/32')), '0:0:0:0:0:0:0:1/32')
    assert.equal(renderIp(parseIp('::1/128')), '0:0:0:0:0:0:0:1')
    for (const [text] of taken) {
      const once = parseIp(text)
      assert.deepEqual(parseIp(renderIp(once)), once)
    }
  })
})
