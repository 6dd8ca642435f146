import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { JsonValue } from '@sallyport/base'
import { project } from '@sallyport/decide'
import { indexNetwork, loadDeclaration } from '@sallyport/network'
import { asItems, asRecords } from '../src/serve/labelled.ts'

const LABELLED = { items: 'result[].prediction[]', label: 'label', value: 'ocr_text' }
const { network } = await loadDeclaration({
  networkFile: new URL('../../../examples/saas/network.yaml', import.meta.url).pathname,
})
const index = indexNetwork(network)
const TREATED = {
  predictions: { label: 'whole', score: 'whole', ocr_text: 'whole' },
  invoice: { invoice_number: 'whole', account_number: 'mask', buyer_name: 'tokenise' },
} as const

/** What a caller is shown of an answer, and what had to be dropped of it. */
function shown(body: JsonValue) {
  const returns = { 'result[].prediction[]': 'predictions' }
  const tokeniser = { tokenise: (kind: string, text: string) => `${kind}:${text.length}` }
  const { value, strangers } = project(
    asRecords(body, LABELLED),
    returns,
    TREATED,
    index,
    tokeniser,
  )
  return { value: asItems(value ?? {}, LABELLED), strangers }
}
const item = (label: JsonValue, ocr_text: JsonValue = 'x', more: object = {}): JsonValue => ({
  ...{ label, ocr_text },
  ...more,
})
const answer = (...prediction: readonly JsonValue[]): JsonValue => ({
  result: [{ prediction }],
})

describe('items that say by a label what their value is', () => {
  it('are treated as the field of that name', () => {
    const body = answer(
      item('invoice_number', '2026-001', { score: 1, xmin: 3 }),
      item('account_number', 'NL91ABNA0417164300'),
      item('buyer_name', 'Ann Lee'),
      item('seller_name', 'Acme'),
      item('handwriting', 'secret'),
      item('invoice_number', '2026-002'),
    )
    const { value, strangers } = shown(body)
    assert.deepEqual(
      value,
      answer(
        { label: 'invoice_number', score: 1, ocr_text: '2026-001' },
        item('account_number', '***4300'),
        item('buyer_name', 'invoice.buyer_name:7'),
        item('invoice_number', '2026-002'),
      ),
    )
    // What nobody declared is told of.
    assert.ok(strangers.some(([at, name]) => at === 'invoice' && name === 'handwriting'))
  })

  const dropped: Readonly<Record<string, JsonValue>> = {
    'no label': answer({ ocr_text: 'secret' }),
    'no value': answer({ label: 'invoice_number' }),
    'a label that is no text': answer(item(['invoice_number'], 'secret')),
    'a label of every object': answer(item('__proto__', 'secret'), item('constructor', 'secret')),
    'an object for a value': answer(item('invoice_number', { account_number: 'secret' })),
    'an object as a list': { result: [{ prediction: item('invoice_number', 'secret') }] },
    'lists in lists': { result: [{ prediction: [[item('invoice_number', 'secret')]] }] },
    'items elsewhere': { prediction: [item('invoice_number', 'secret')] },
    'no object at all': [item('invoice_number', 'secret')],
    'a record where none is': answer(item('seller_name', { invoice_number: 'secret' })),
  }
  for (const [what, body] of Object.entries(dropped)) {
    it(`are dropped with ${what}`, () => {
      assert.doesNotMatch(JSON.stringify(shown(body).value), /secret/)
    })
  }
})
