import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { canonicalise } from '../src/edge/canonical.ts'
import type { RawRequest } from '../src/edge/canonical.ts'
import { encodeComponent, readTarget } from '../src/edge/target.ts'
import { Refusal } from '../src/refusal.ts'

const raw = (over: Partial<RawRequest> = {}): RawRequest => ({
  method: 'GET',
  url: '/bank/v1/accounts/42',
  httpVersion: '1.1',
  rawHeaders: ['Host', 'gateway'],
  ...over,
})

const refused = (over: Partial<RawRequest>, code: string): void => {
  assert.throws(
    () => canonicalise(raw(over)),
    (error: unknown) => error instanceof Refusal && error.code === code,
    JSON.stringify(over),
  )
}

const withHeaders = (...rawHeaders: string[]): Partial<RawRequest> => ({
  rawHeaders: ['Host', 'gateway', ...rawHeaders],
})

describe('request targets', () => {
  it('reads plain ones', () => {
    assert.deepEqual(canonicalise(raw()).target.segments, ['bank', 'v1', 'accounts', '42'])
    const { segments, query } = readTarget("/b%C3%A4nk/O'Brien,%20J?name=Ann+Lee&x=%2B1&y=")
    assert.deepEqual(segments, ['bänk', "O'Brien, J"])
    assert.deepEqual(
      [...query],
      [
        ['name', 'Ann Lee'],
        ['x', '+1'],
        ['y', ''],
      ],
    )
    assert.deepEqual(readTarget('/bank/v1?'), readTarget('/bank/v1'))
  })

  it('knows a path that ends with a slash from one that does not', () => {
    assert.deepEqual(readTarget('/bank/v1/').segments, ['bank', 'v1', ''])
    assert.deepEqual(readTarget('/bank/v1').segments, ['bank', 'v1'])
  })

  const targets: Readonly<Record<string, string>> = {
    'no slash first': 'bank/v1',
    'absolute form': 'http://gateway/bank/v1',
    'absolute form of another authority': 'https://evil.example/bank/v1',
    'authority form': 'gateway:443',
    'asterisk form': '*',
    'the root alone': '/',
    'a dot segment': '/bank/./v1',
    'a parent segment': '/bank/../v1',
    'a parent segment at the end': '/bank/v1/..',
    'an encoded parent segment': '/bank/%2e%2e/v1',
    'a half-encoded parent segment': '/bank/.%2E/v1',
    'an encoded dot': '/bank/a%2eb',
    'an encoded slash': '/bank/..%2fvault',
    'an encoded slash in capitals': '/bank/a%2Fb',
    'an encoded backslash': '/bank/a%5cb',
    'a backslash': '/bank\\v1',
    'a doubly encoded slash': '/bank/a%252fb',
    'an encoded NUL': '/bank/a%00b',
    'an encoded line break': '/bank/a%0d%0ab',
    'an empty segment': '/bank//v1',
    'a leading double slash': '//evil.example/bank',
    'two slashes at the end': '/bank/v1//',
    'an encoded slash at the end': '/bank/v1/%2f',
    'a fragment': '/bank/v1#x',
    'an encoded fragment': '/bank/v1%23x',
    'an encoded question mark': '/bank/v1%3fx=1',
    'a path parameter': '/bank/v1;x=1',
    'an encoded path parameter': '/bank/v1%3bx=1',
    'an overlong slash': '/bank/%c0%af',
    'an overlong dot': '/bank/%c0%ae%c0%ae',
    'a lone continuation byte': '/bank/%80',
    'a surrogate in UTF-8': '/bank/%ed%a0%80',
    'a cut-off escape': '/bank/%4',
    'an escape that is none': '/bank/%zz',
    'raw non-ASCII': '/bank/ä',
    'a blank': '/bank/a b',
    'a tab': '/bank/a\tb',
    'a NUL': '/bank/a\0b',
    'a quote': '/bank/"a"',
    braces: '/bank/{a}',
    'a query key twice': '/bank/v1?a=1&a=2',
    'a query key twice, once encoded': '/bank/v1?a=1&%61=2',
    'a query without value': '/bank/v1?a',
    'a query without key': '/bank/v1?=1',
    'an empty parameter': '/bank/v1?a=1&&b=2',
    'a control character in a query': '/bank/v1?a=%00',
    'a fragment after a query': '/bank/v1?a=1#b',
    'invalid UTF-8 in a query': '/bank/v1?a=%ff',
    'too many segments': '/a'.repeat(65),
    'too many parameters': `/a?${Array.from({ length: 65 }, (_, i) => `k${i}=1`).join('&')}`,
    'too long': `/${'a'.repeat(9000)}`,
  }
  for (const [what, url] of Object.entries(targets)) {
    it(`refuses ${what}`, () => refused({ url }, 'SP_REQUEST_TARGET'))
  }

  it('reads back exactly what it forwards, whatever the values', () => {
    const segment = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
      // eslint-disable-next-line no-control-regex -- what segments cannot hold
      .filter((s) => s.isWellFormed() && !/[/\\;%?#\u0000-\u001f\u007f-\u009f]/.test(s))
      .filter((s) => s !== '.' && s !== '..')
    const value = fc
      .string({ unit: 'grapheme', maxLength: 20 })
      // eslint-disable-next-line no-control-regex -- what parameters cannot hold
      .filter((s) => s.isWellFormed() && !/[\u0000-\u001f\u007f-\u009f]/.test(s))
    fc.assert(
      fc.property(
        fc.array(segment, { minLength: 1, maxLength: 5 }),
        fc.array(fc.tuple(fc.stringMatching(/^[a-z]{1,8}$/), value), { maxLength: 5 }),
        (segments, pairs) => {
          const query = new Map(pairs)
          const text = [...query]
            .map(([k, v]) => `${encodeComponent(k)}=${encodeComponent(v)}`)
            .join('&')
          const url = `/${segments.map(encodeComponent).join('/')}${text === '' ? '' : `?${text}`}`
          const read = readTarget(url)
          assert.deepEqual(read.segments, segments)
          assert.deepEqual([...read.query], [...query])
        },
      ),
      { numRuns: 300 },
    )
  })

  it('never lets a traversal or a second reading through, whatever the bytes', () => {
    const soup = fc.array(
      fc.constantFrom(
        '/',
        '.',
        '..',
        '%2e',
        '%2f',
        '%5c',
        '%25',
        '%',
        'a',
        ';',
        '?',
        '&',
        '=',
        '#',
        '\\',
        '%c0%ae',
        '%00',
        'http:',
      ),
      { maxLength: 14 },
    )
    fc.assert(
      fc.property(soup, (parts) => {
        const url = `/${parts.join('')}`
        try {
          const { segments } = readTarget(url)
          for (const [i, segment] of segments.entries()) {
            // Only the last is empty, and never the first.
            if (segment === '') assert.ok(i > 0 && i === segments.length - 1)
            assert.doesNotMatch(segment, /^\.\.?$|[/\\%;#?]/)
          }
          // The WHATWG parser, which resolves dots and fixes slashes, sees the same path.
          const path = url.split('?')[0] ?? ''
          assert.equal(new URL(url, 'http://h').pathname, path)
        } catch (error) {
          if (!(error instanceof Refusal)) throw error
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('request headers', () => {
  it('reads plain ones', () => {
    const { headers } = canonicalise(
      raw(
        withHeaders(
          'Accept',
          'application/json',
          'Sallyport-Approval',
          'apr_1',
          'Cookie',
          'a=b',
          'X-Forwarded-For',
          '10.0.0.1',
          'Connection',
          'keep-alive',
          'User-Agent',
          'x',
        ),
      ),
    )
    assert.equal(headers.accept, 'application/json')
    assert.equal(headers.approval, 'apr_1')
  })

  const headers: Readonly<Record<string, readonly string[]>> = {
    'two hosts': ['Host', 'other'],
    'a header in two spellings': ['X-A', '1', 'x-a', '2'],
    'two lengths': ['Content-Length', '0', 'Content-Length', '0'],
    'a length that is none': ['Content-Length', '+1'],
    'a length with a leading zero': ['Content-Length', '01'],
    'a length in hex': ['Content-Length', '0x1'],
    'a list of lengths': ['Content-Length', '1, 1'],
    'length and coding': ['Content-Length', '1', 'Transfer-Encoding', 'chunked'],
    'another coding': ['Transfer-Encoding', 'gzip, chunked'],
    'a coding with a trick': ['Transfer-Encoding', 'xchunked'],
    'identity coding': ['Transfer-Encoding', 'identity'],
    'two identities': ['X-Spiffe-Id', 'a', 'X-SPIFFE-ID', 'b'],
    'two forwarded headers': ['X-Forwarded-For', 'a', 'X-Forwarded-For', 'b'],
    'two approvals': ['Sallyport-Approval', 'a', 'Sallyport-Approval', 'b'],
    'an approval that is no id': ['Sallyport-Approval', 'a b'],
    'an underscore': ['Sallyport_Approval', 'a'],
    'an underscore alias of a length': ['Content_Length', '1'],
    expect: ['Expect', '100-continue'],
    upgrade: ['Upgrade', 'websocket'],
    'an h2 upgrade': ['HTTP2-Settings', 'x'],
    trailers: ['Trailer', 'x'],
    te: ['TE', 'trailers'],
    'connection that names headers': ['Connection', 'close, sallyport-approval'],
    'connection upgrade': ['Connection', 'Upgrade'],
    'a method override': ['X-HTTP-Method-Override', 'DELETE'],
    'a url override': ['X-Original-URL', '/vault'],
    'a non-ASCII value': ['X-A', 'ä'],
    'a control character': ['X-A', 'a\0b'],
    'a name that is none': ['X A', '1'],
  }
  for (const [what, list] of Object.entries(headers)) {
    it(`refuses ${what}`, () => refused(withHeaders(...list), 'SP_REQUEST_HEADER'))
  }
  for (const coding of [
    'gzip',
    'x-gzip',
    'deflate',
    'br',
    'zstd',
    'gzip, identity',
    '',
    'aes128gcm',
  ]) {
    it(`refuses a body encoded as \`${coding}\``, () =>
      refused(withHeaders('Content-Encoding', coding), 'SP_REQUEST_ENCODING'))
  }
  it('takes a body that says that it is not encoded', () => {
    canonicalise(raw(withHeaders('Content-Encoding', 'identity')))
  })
  it('refuses no host', () => refused({ rawHeaders: [] }, 'SP_REQUEST_HEADER'))
  for (const host of ['', 'a b', 'a@b', 'a/b', 'a,b', 'a:b', '[::1', 'a#b']) {
    it(`refuses the host \`${host}\``, () =>
      refused({ rawHeaders: ['Host', host] }, 'SP_REQUEST_HEADER'))
  }
  it('takes a header named __proto__ for nothing', () => {
    assert.equal(canonicalise(raw(withHeaders('constructor', 'x'))).headers.approval, undefined)
    refused(withHeaders('__proto__', 'x'), 'SP_REQUEST_HEADER')
  })
})

describe('requests', () => {
  it('refuses other methods and versions', () => {
    for (const method of ['HEAD', 'OPTIONS', 'TRACE', 'CONNECT', 'PROPFIND', 'get']) {
      refused({ method }, 'SP_REQUEST_METHOD')
    }
    refused({ httpVersion: '1.0' }, 'SP_REQUEST_METHOD')
    refused(
      { httpVersion: '1.0', ...withHeaders('Transfer-Encoding', 'chunked') },
      'SP_REQUEST_METHOD',
    )
  })
  it('refuses bodies on GET and DELETE, and knows one on POST', () => {
    for (const method of ['GET', 'DELETE']) {
      refused({ method, ...withHeaders('Content-Length', '1') }, 'SP_REQUEST_BODY')
      refused({ method, ...withHeaders('Transfer-Encoding', 'chunked') }, 'SP_REQUEST_BODY')
      assert.equal(
        canonicalise(raw({ method, ...withHeaders('Content-Length', '0') })).hasBody,
        false,
      )
    }
    assert.equal(
      canonicalise(raw({ method: 'POST', ...withHeaders('Content-Length', '1') })).hasBody,
      true,
    )
  })
})
