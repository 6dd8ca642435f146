import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createSidecar, launchAgent, lazyWorkload } from '@sallyport/agent'
import type { ServiceHandler } from '@sallyport/agent'
import { parseJson } from '@sallyport/base'
import { World } from './support/world.ts'

const EXAMPLE = join(import.meta.dirname, '../examples/saas')
const MODEL = '/api/v2/OCR/Model/6ad50c1f-5f0c-4f2b-9a55-d3b7b1a2c301'

const folder = mkdtempSync(join(tmpdir(), 'sp-nanonets-'))
let world: World | undefined
after(async () => {
  await world?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** What the model finds, in Nanonets' wire format: boxes, and more labels than anybody declared. */
const found = Object.entries({
  ...{ invoice_number: '2026-001', invoice_amount: '1200.00', seller_name: 'Acme' },
  ...{ buyer_name: 'Ann Lee', account_number: 'NL91ABNA0417164300', handwriting: 'pay me first' },
}).map(([label, ocr_text], i) => ({
  ...{ id: `p${i}`, label, xmin: 1, ymin: 2, xmax: 3, ymax: 4, score: 0.99, ocr_text },
  ...{ type: 'field', status: 'correctly_predicted', page_no: 0 },
}))
const RESULT = {
  message: 'Success',
  result: [
    {
      ...{ message: 'Success', input: 'invoice.pdf', prediction: found, page: 0 },
      ...{ request_file_id: 'f1', filepath: 'uploadedfiles/x', rotation: 0, request_metadata: '' },
    },
  ],
  signed_urls: { 'uploadedfiles/x': { original: 'https://signed.example/?key=secret' } },
}

/** What it was sent, as any server of its kind reads it. */
const asked: unknown[] = []
const nanonets: ServiceHandler = async (request, response) => {
  const { url = '', headers } = request
  const type = headers['content-type'] ?? ''
  const body = new Uint8Array(await bytesOf(request))
  const form = await new Response(body, { headers: { 'content-type': type } }).formData()
  const parts: unknown[] = []
  for (const [name, value] of form) {
    if (typeof value === 'string') parts.push({ [name]: value })
    else parts.push({ [name]: [value.name, value.type, await value.text()] })
  }
  asked.push([url.replace(MODEL, ''), type.split(';')[0], ...parts])
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(RESULT))
}
async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  // A request's chunks are buffers unless an encoding is set.
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

test('a model of Nanonets behind the gateway: what goes out by what it is, what comes back by its label, and no key', async (t) => {
  cpSync(EXAMPLE, folder, { recursive: true })
  const networkFile = join(folder, 'network.yaml')
  // The one change: in the place of the address outside, a process of ours.
  const yaml = readFileSync(networkFile, 'utf8')
    .replace(
      /( {2}nanonets:\n(?: {4}.*\n)*?) {4}upstream:\n(?: {6}.*\n)+/,
      '$1    upstream: { service: nanonets, port: 7621 }\n',
    )
    .replace('quorum: 2', 'quorum: 1')
    .replace(
      'systems:\n',
      'services:\n  nanonets: { description: Stands in., owner: tests, segment: edge }\nsystems:\n',
    )
  writeFileSync(networkFile, yaml)
  const started = await World.start({ networkFile, services: { nanonets } })
  world = started
  const { gatewayTarget, planeTarget } = started
  const run = async (name: string): Promise<unknown[] | undefined> => {
    const workload = lazyWorkload(async () => started.join('agent', name))
    const lines: string[] = []
    const ended = Promise.withResolvers<number | null>()
    const launched = await launchAgent({
      name,
      command: process.execPath,
      args: [join(EXAMPLE, 'invoice.mjs')],
      env: {},
      runDir: join(folder, 'run'),
      gateway: gatewayTarget,
      control: planeTarget,
      workload,
      sidecar: createSidecar({ identity: () => workload.identity(), gateway: gatewayTarget }),
      addresses: { NANONETS_URL: '/nanonets' },
      isolate: 'require',
      onStdout: (line) => lines.push(line),
      onStderr: (line) => lines.push(line),
      onExit: (code) => {
        ended.resolve(code)
      },
    }).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'SP_LAUNCH_NOT_ISOLATED')) {
        throw error
      }
      t.skip(`this machine cannot isolate: ${error.message}`)
    })
    if (!launched) return undefined
    assert.equal(await ended.promise, 0, lines.join('\n'))
    await launched.stop()
    return lines.map((line) => parseJson(line))
  }

  const booked = await run('payables')
  if (!booked) return
  const fields = { invoice_number: '2026-001', invoice_amount: '1200.00', seller_name: 'Acme' }
  const refused = [
    { refused: 'SP_INPUT_VALUE', status: 400 },
    { refused: 'SP_DENIED_NOT_PERMITTED', status: 403 },
    { refused: 'SP_INPUT_VALUE', status: 400 },
  ]
  assert.deepEqual(booked, [fields, fields, ...refused])
  const sent = [
    [
      ...['/LabelFile/', 'multipart/form-data'],
      { file: ['invoice.pdf', 'application/pdf', '%PDF-1.7 an invoice'] },
    ],
    [
      ...['/LabelUrls/', 'application/x-www-form-urlencoded'],
      { urls: 'https://documents.saas.example/2026-001.pdf' },
    ],
  ]
  assert.deepEqual(asked, sent)
  // The same model, the same document, and somebody who pays it.
  const paid = await run('treasury')
  const whole = { ...fields, buyer_name: 'Ann Lee', account_number: 'NL91ABNA0417164300' }
  assert.deepEqual(paid, [whole, whole, ...refused])
})
