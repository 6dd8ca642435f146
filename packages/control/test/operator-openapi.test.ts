import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { openConsole } from './support/console.ts'

interface Operation {
  readonly operationId: string
  readonly summary: string
  readonly parameters?: readonly { readonly name: string; readonly in: string }[]
  readonly requestBody?: unknown
  readonly responses: Readonly<Record<string, unknown>>
  readonly security: readonly unknown[]
}

test('the OpenAPI document describes every call that ARCHITECTURE.md names, and dispatches them', async () => {
  const site = await openConsole()
  try {
    const answer = await site.browser().get('/api/openapi.json')
    assert.equal(answer.body['openapi'], '3.1.0')
    // Pinned by the assertions below.
    const paths = answer.body['paths'] as Record<string, Record<string, Operation>>
    const text = await readFile(new URL('../../../ARCHITECTURE.md', import.meta.url), 'utf8')
    const section = text.slice(text.indexOf('## Operator API'), text.indexOf('## Data directory'))
    const named = [...section.matchAll(/`(GET|POST) (\/api\/[^\s`?]*)/g)]
    assert.ok(named.length >= 20, `${named.length} calls are named`)
    for (const [, method = '', path = ''] of named) {
      assert.ok(paths[path]?.[method.toLowerCase()], `${method} ${path}`)
    }
    const ids = new Set<string>()
    for (const [path, item] of Object.entries(paths)) {
      for (const [method, operation] of Object.entries(item)) {
        const where = `${method} ${path}`
        assert.ok(operation.summary.length > 5, where)
        assert.equal(ids.has(operation.operationId), false, where)
        ids.add(operation.operationId)
        assert.ok(operation.responses['200'] && operation.responses['default'], where)
        assert.equal(operation.requestBody !== undefined, method === 'post', where)
        const inPath = (operation.parameters ?? []).filter((one) => one.in === 'path')
        assert.equal(inPath.length, path.split('{').length - 1, where)
      }
    }
  } finally {
    await site.close()
  }
})

// An operator, or whoever holds a session of one, must not be able to send the log elsewhere or to stop it.
test('MUST-reject 13: where the audit log goes is for nobody to set through the API', async () => {
  const site = await openConsole()
  try {
    const answer = await site.browser().get('/api/openapi.json')
    // Pinned by the assertions below.
    const paths = answer.body['paths'] as Record<string, Record<string, Operation>>
    const acts = Object.entries(paths).filter(([, item]) => 'post' in item)
    assert.ok(acts.length > 20, 'the calls that change something were read')
    const sink = /audit|\blogs?\b|sink|syslog|siem|otlp|ocsf|exporter|retention/i
    for (const [path, { post }] of acts) {
      assert.doesNotMatch(path, sink)
      const body = JSON.stringify(post?.requestBody ?? null)
      const names = [...body.matchAll(/"([A-Za-z]+)":\{/g)].map(([, name = '']) => name)
      for (const name of names) assert.doesNotMatch(name, sink, `${path} takes \`${name}\``)
    }
    for (const path of ['/api/audit', '/api/audit/sink', '/api/log', '/api/settings']) {
      const told = await site.browser().post(path, { url: 'https://evil.test/' })
      assert.ok([401, 403, 404, 405].includes(told.status), `${path}: ${told.status}`)
    }
  } finally {
    await site.close()
  }
})

test('every code of the operator API has its page', async () => {
  const { globSync, readFileSync, existsSync } = await import('node:fs')
  const root = new URL('../', import.meta.url).pathname
  const codes = new Set(
    globSync('src/operator/**/*.ts', { cwd: root }).flatMap(
      (file) => readFileSync(root + file, 'utf8').match(/SP_API_[A-Z_]+/g) ?? [],
    ),
  )
  assert.ok(codes.size > 10)
  for (const code of codes) assert.ok(existsSync(`${root}../../docs/errors/${code}.md`), code)
})
