/** The declarations in the pages about the gateway, as somebody would copy them: each is taken, with what its page says is beside it. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createDecider } from '@sallyport/decide'
import { loadDeclaration } from '@sallyport/network'

const ROOT = join(import.meta.dirname, '..')
const FIXTURES = join(ROOT, 'packages/gateway/test/fixtures')

/** Whatever a declaration has beside what a page is about. */
const segments = ['core', 'action', 'edge', 'raw', 'casework']
const agents = ['teller', 'analyst']
const AROUND = `
name: pages
trustDomain: pages.example
quorum: 1
segments: { ${segments.map((name) => `${name}: { description: A, owner: o }`).join(', ')} }
agents: { ${agents.map((name) => `${name}: { owner: o, segment: edge }`).join(', ')} }
operators: { olga: { displayName: Olga, roles: [viewer, approver, admin] } }
`
const fixture = (path: string): string => readFileSync(join(FIXTURES, path), 'utf8')

/** The first block of that language in a page. */
function block(page: string, language: string): string {
  const text = readFileSync(join(ROOT, 'docs/gateway', page), 'utf8')
  const [, found] = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'ms').exec(text) ?? []
  assert.ok(found, `${page} has no ${language}`)
  return found
}

const service = (name: string): string =>
  `services: { ${name}: { description: A, owner: o, segment: core } }\n`
const sets = (system: string, ...names: readonly string[]): string =>
  `datasets: { ${names.map((name) => `${name}: { system: ${system}, owner: o, fields: { id: internal } }`).join(', ')} }\n`
const flow = (from: string, to: string, ...operations: readonly string[]): string =>
  `flows: [{ from: ${from}, to: ${to}, operations: [${operations.join(', ')}], purpose: x }]\n`

const OPENAPI = `
openapi: 3.1.0
info: { title: A, version: '1' }
paths:
  /accounts/{accountId}:
    parameters: [{ name: accountId, in: path, required: true, schema: { type: string } }]
    get: { operationId: getAccount, responses: {} }
    post: { operationId: CreateDomesticPayments, responses: {} }
`
const RATES = `
systems:
  rates:
    owner: o
    segment: core
    protocol: http
    openapi: rates.yaml
    upstream: { url: https://rates.example, serverName: rates.example }
    operations: { getAccount: { kind: read } }
flows: []
`

const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const key = { ...publicKey.export({ format: 'jwk' }), kid: 'one' }

const PAGES: Readonly<
  Record<string, readonly [beside: string, files: Readonly<Record<string, string>>]>
> = {
  'openapi.md': [
    service('core-banking') +
      sets('core-banking', 'accounts') +
      flow('teller', 'core-banking', 'pay'),
    { 'openapi/core-banking.yaml': OPENAPI },
  ],
  'a2a.md': [
    service('clerk') + sets('clerk', 'remarks') + flow('teller', 'clerk', 'explain'),
    {
      'clerk.card.json': fixture('a2a/clerk.card.json'),
      'clerk.jwks.json': JSON.stringify({ keys: [key] }),
      'clerk.inputs.json': block('a2a.md', 'json'),
    },
  ],
  'enforcement-points.md': [RATES, { 'rates.yaml': OPENAPI }],
  'mcp.md': [
    service('case-store') +
      sets('case-store', 'rings', 'notes') +
      flow('teller', 'case-store', 'addNote'),
    {
      'mcp/case-store.json': readFileSync(
        join(ROOT, 'examples/meridian/mcp/case-store.json'),
        'utf8',
      ),
    },
  ],
  'grpc.md': [
    service('ledger') + sets('ledger', 'accounts') + flow('teller', 'ledger', 'watch', 'Transfer'),
    {},
  ],
  'llm.md': [flow('analyst', 'models', 'chat', 'respond'), {}],
  'opaque.md': [service('vault'), {}],
  'postgresql.md': [
    service('ledger-db') + flow('teller', 'ledger', 'read_accounts'),
    { 'rows.cedar': '' },
  ],
}

for (const [page, [beside, files]] of Object.entries(PAGES)) {
  test(`the declaration in ${page} is one`, async (t) => {
    const declared = block(page, 'yaml')
    const dir = mkdtempSync(join(tmpdir(), 'sp-pages-'))
    t.after(() => rmSync(dir, { recursive: true, force: true }))
    cpSync(join(FIXTURES, 'grpc/ledger.binpb'), join(dir, 'ledger.binpb'))
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(join(dir, name, '..'), { recursive: true })
      writeFileSync(join(dir, name), content)
    }
    mkdirSync(join(dir, 'policies'))
    writeFileSync(
      join(dir, 'policies/all.cedar'),
      '@id("one")\npermit (principal in Agent::"teller", action == Action::"field.read", resource);\n',
    )
    const networkFile = join(dir, 'network.yaml')
    writeFileSync(networkFile, `${AROUND}${declared}\n${beside}`)
    await createDecider({ declaration: await loadDeclaration({ networkFile }) })
  })
}
