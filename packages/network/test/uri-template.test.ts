/** URI templates: what a policy decides on is what the server will read, however it reads. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { UriTemplate as SdkTemplate } from '@modelcontextprotocol/sdk/shared/uriTemplate.js'
import fc from 'fast-check'
import { mcpResource } from '../src/mcp-features.ts'
import { Halt } from '../src/problem.ts'
import { isAmbiguous, MAX_URI, readUriTemplate } from '../src/uri-template.ts'

const CERTAIN = [
  'a:{x}',
  'a:{x}.json',
  'a:/{+x}',
  'a:/{+x}.json',
  'notes://{team}/{name}',
  'notes://{team}/v1/{name}.md',
  'notes://v-{team}.x/y-{name}',
  'a:{x}:{y}',
  'a:{x}%20/{y}',
  'a:/{+x}?of={y}',
]
const AMBIGUOUS = [
  'a:{x}{y}',
  'a:{x}.{y}',
  'a:{x}-and-{y}',
  'a:{x}%20{y}',
  'a:{x}/{y}.{z}',
  'a:{+x}/{+y}',
  'a:{x}/{+y}',
  'a:{+x}:{y}',
]

/** Every way to read a URI by a template, for a reader whose values may be anything at all. */
function readings(template: string, uri: string): number {
  const [first = '', ...after] = template.split(/\{[^}]*\}/)
  if (!uri.startsWith(first)) return 0
  const count = (at: number, i: number): number => {
    const literal = after[i]
    if (literal === undefined) return at === uri.length ? 1 : 0
    let found = 0
    for (let to = at + 1; to <= uri.length; to++) {
      if (uri.startsWith(literal, to)) found += count(to + literal.length, i + 1)
    }
    return found
  }
  return count(first.length, 0)
}

describe('URI templates', () => {
  it('are refused where a URI could be read in two ways, and no others', () => {
    for (const template of CERTAIN) {
      assert.equal(isAmbiguous(template), false, template)
      assert.ok(readUriTemplate(template), template)
    }
    for (const template of AMBIGUOUS) {
      assert.equal(isAmbiguous(template), true, template)
      assert.equal(readUriTemplate(template), undefined, template)
      assert.throws(
        () => mcpResource({ name: 'n', uriTemplate: template }, {}),
        (error) => error instanceof Halt && error.code === 'SP_NETWORK_URI_TEMPLATE',
      )
    }
    assert.ok(mcpResource({ name: 'n', uriTemplate: 'a:{x}:{y}' }, {}))
  })

  it('find the values that every reader finds', () => {
    const piece = fc.constantFrom(
      'a',
      'b',
      '.',
      '-',
      '/',
      ':',
      '?',
      '%20',
      '%2F',
      '%3A',
      'v1',
      'of=',
    )
    const values = fc.array(piece, { minLength: 1, maxLength: 5 }).map((pieces) => pieces.join(''))
    let matched = 0
    fc.assert(
      fc.property(
        fc.constantFrom(...CERTAIN),
        fc.array(values, { minLength: 3, maxLength: 3 }),
        (template, given) => {
          let i = 0
          const uri = template.replaceAll(/\{[^}]*\}/g, () => given[i++] ?? '')
          const found = readUriTemplate(template)?.match(uri)
          if (!found) return
          matched++
          assert.equal(readings(template, uri), 1, `${template} ${uri}`)
          if (uri.includes('%')) return
          const named = template.replaceAll('{+', '{')
          // Nothing to be decoded: the reference reads the same.
          const theirs = new SdkTemplate(template).match(uri) ?? new SdkTemplate(named).match(uri)
          assert.deepEqual({ ...theirs }, found, `${template} ${uri}`)
        },
      ),
      { numRuns: 2000 },
    )
    assert.ok(matched > 100, String(matched))
  })

  it('take a URI as it is spelt, or not at all', () => {
    const host = readUriTemplate('https://{host}/{page}?of={name}')
    assert.deepEqual(host?.match('https://a.example/b?of=d'), {
      host: 'a.example',
      page: 'b',
      name: 'd',
    })
    for (const uri of [
      'https://A.example/b?of=d',
      'https://0x7f.1/b?of=d',
      'https://a.example/b?of=d?of=e',
      'https://a.example/b/c?of=d',
      'https://a.example/b?of=',
      'https://a.example//?of=d',
    ]) {
      assert.equal(host?.match(uri), undefined, uri)
    }
    const dotted = readUriTemplate('a:/.{+x}')
    assert.deepEqual(dotted?.match('a:/.b/c'), { x: 'b/c' })
    // Each step of it is none by itself.
    assert.equal(dotted?.match('a:/./b'), undefined)
    const pair = readUriTemplate('a:{x}:{y}')
    assert.deepEqual(pair?.match('a:1%3B2:3'), { x: '1;2', y: '3' })
    // Whoever decodes first would split it elsewhere.
    assert.equal(pair?.match('a:1%3A2:3'), undefined)
    assert.equal(pair?.match('a:1:2:3'), undefined)
  })

  it('have a bound on what they look at', () => {
    const template = readUriTemplate('a:{x}')
    assert.ok(template?.match(`a:${'x'.repeat(MAX_URI - 2)}`))
    assert.equal(template?.match(`a:${'x'.repeat(MAX_URI - 1)}`), undefined)
    assert.ok(readUriTemplate(`a:${'x'.repeat(MAX_URI - 2)}`))
    assert.equal(readUriTemplate(`a:${'x'.repeat(MAX_URI - 1)}`), undefined)
  })
})
