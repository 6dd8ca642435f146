import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { BytesAnswer, Problem } from '@sallyport/network'
import { MINIMAL, parse } from './minimal.ts'

type Json = Readonly<Record<string, unknown>>

const FILE: Json = { type: 'string', format: 'binary' }
const content = (types: Json): Json => ({ content: types })
const media = (schema: Json, ...types: readonly string[]): Json =>
  content(Object.fromEntries(types.map((type) => [type, { schema }])))

/** An operation with these responses, and what `network.yaml` says that it returns. */
function imported(
  responses: unknown,
  returns: string,
  version = '3.0.3',
): { readonly bytes: BytesAnswer | undefined; readonly problems: readonly Problem[] } {
  const yaml = MINIMAL.replace(/ {8}subject: account\n {8}returns: .*\n/, `        ${returns}\n`)
    .replace('datasets:\n', `datasets:\n${DATASETS}`)
    .replace(/limits:[^]*$/, '')
  const components = { responses: { File: media(FILE, 'text/csv') } }
  const paths = { '/f': { get: { operationId: 'pay', responses } } }
  const { network, problems } = parse(yaml, {
    'bank.yaml': JSON.stringify({ openapi: version, info: {}, paths, components }),
  })
  const binding = network?.systems[0]?.operations[0]?.binding
  return { bytes: binding?.kind === 'http' ? binding.bytes : undefined, problems }
}

const DATASETS = `  statements: { system: bank, owner: us, fields: { content: restricted } }
  nested: { system: bank, owner: us, fields: { content: { class: internal, dataset: payments } } }
`
const WHOLE = 'returns: { $: statements }'
const bytesOf = (responses: unknown, version?: string): BytesAnswer | undefined => {
  const { bytes, problems } = imported(responses, WHOLE, version)
  assert.deepEqual(problems, [])
  return bytes
}

describe('answers that are nothing but bytes', () => {
  it('have named media types and a largest size', () => {
    const bound = { ...FILE, maxLength: 5000 }
    assert.deepEqual(
      bytesOf({
        '200': media(bound, 'Application/PDF', 'image/*'),
        '201': media(bound, 'application/pdf'),
        '404': media({ type: 'object' }, 'application/json'),
        default: media({ type: 'object' }, 'application/problem+json'),
      }),
      { types: ['application/pdf', 'image/*'], maxBytes: 5000 },
    )
    assert.deepEqual(bytesOf({ '2XX': { $ref: '#/components/responses/File' } }), {
      types: ['text/csv'],
      maxBytes: 2 ** 31,
    })
    assert.deepEqual(bytesOf({ default: media(FILE, 'text/csv') })?.types, ['text/csv'])
    assert.deepEqual(bytesOf({ '200': media(FILE, 'text/csv'), '204': {} })?.types, ['text/csv'])
    // OpenAPI 3.1 needs no schema for it, or says what it is.
    assert.deepEqual(bytesOf({ '200': content({ 'text/csv': {} }) }, '3.1.0')?.types, ['text/csv'])
    const pdf = { type: 'string', contentMediaType: 'application/pdf' }
    assert.ok(bytesOf({ '200': media(pdf, 'application/pdf') }, '3.1.0'))
  })

  it('are nothing that is read, or that nobody names', () => {
    for (const responses of [
      { '200': media(FILE, 'application/json') },
      { '200': media(FILE, 'application/pdf', 'application/json') },
      { '200': media(FILE, 'application/pdf'), '201': media({}, 'application/vnd.a+json') },
      { '200': media(FILE, 'application/x-ndjson') },
      { '200': media(FILE, 'text/event-stream') },
      { '200': media(FILE, 'multipart/byteranges') },
      { '200': media(FILE, '*/*') },
      { '200': media(FILE, 'application/*') },
      { '200': media(FILE, 'text/*') },
      { '200': media(FILE, 'text/csv; charset=utf-8') },
      { '200': media({ type: 'string' }, 'text/plain') },
      { '200': media({ ...FILE, contentEncoding: 'base64', format: 'x' }, 'text/plain') },
      { '200': media({ type: 'object' }, 'application/xml') },
      { '404': media(FILE, 'application/pdf') },
      { '200': { $ref: '#/nowhere' } },
      { '200': {}, default: media(FILE, 'application/pdf') },
      'x',
      undefined,
    ]) {
      assert.equal(bytesOf(responses), undefined, JSON.stringify(responses))
    }
  })

  it('have one size, which is a number', () => {
    for (const responses of [
      {
        '200': content({
          'text/csv': { schema: FILE },
          'text/x': { schema: { ...FILE, maxLength: 9 } },
        }),
      },
      { '200': media({ ...FILE, maxLength: -1 }, 'text/csv') },
      { '200': media({ ...FILE, maxLength: '9' }, 'text/csv') },
      { '200': media({ ...FILE, maxLength: 1.5 }, 'text/csv') },
    ]) {
      const codes = imported(responses, WHOLE).problems.map(({ code }) => code)
      assert.ok(codes.includes('SP_NETWORK_OPENAPI'), JSON.stringify(responses))
    }
  })

  it('are of one class: the whole of them is one field, or public', () => {
    const responses = { '200': media(FILE, 'application/pdf') }
    for (const returns of [WHOLE, 'returns: { $: public }']) {
      assert.deepEqual(imported(responses, returns).problems, [], returns)
    }
    for (const returns of [
      '',
      'returns: {}',
      'returns: { a: statements }',
      'returns: { $: payments }',
      'returns: { $: nested }',
    ]) {
      const codes = imported(responses, returns).problems.map(({ code }) => code)
      assert.deepEqual(codes, ['SP_NETWORK_RETURNS'], returns)
    }
  })
})
