/** The official reference server behind the gateway, called by the official client through it. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { Client as PlainClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
  McpError,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js'
import { startWorld, until } from '../packages/gateway/test/support/world.ts'
import type { World } from '../packages/gateway/test/support/world.ts'
import { connectSdk, declareTools, EVERYTHING, McpProcess } from './support/mcp.ts'
import type { Connected } from './support/mcp.ts'

const TEXT = 'demo://resource/dynamic/text/'
const DOCUMENT = 'demo://resource/static/document/features.md'

const OPERATIONS = `
      echo: { kind: read, content: tool-content }
      sum: { kind: read, from: get-sum, content: tool-content }
      image: { kind: read, from: get-tiny-image, content: tool-content }
      links: { kind: read, from: get-resource-links, content: tool-content }
      reference: { kind: read, from: get-resource-reference, content: tool-content }
      weather: { kind: read, from: get-structured-content, returns: { temperature: public, conditions: public } }
      env: { kind: read, from: get-env, content: tool-content }
      long: { kind: read, from: trigger-long-running-operation, content: tool-content }
      log_on: { kind: read, from: toggle-simulated-logging, content: tool-content }
      updates_on: { kind: read, from: toggle-subscriber-updates, content: tool-content }
      features: { kind: read, from: 'resource:${DOCUMENT}', content: tool-content }
      text: { kind: read, from: 'template:${TEXT}{resourceId}', content: tool-content }
      simple: { kind: read, from: 'prompt:simple-prompt', content: tool-content }
      weather_prompt: { kind: read, from: 'prompt:args-prompt', content: tool-content }
      team: { kind: read, from: 'prompt:completable-prompt', content: tool-content }
      resource_prompt: { kind: read, from: 'prompt:resource-prompt', content: tool-content }
      complete: { kind: read, from: 'mcp:completion', content: tool-content }
      logs: { kind: read, from: 'mcp:logging', content: tool-logs }
      ask_model: { kind: read, from: trigger-sampling-request, content: tool-content }
      ask_person: { kind: read, from: trigger-elicitation-request, content: tool-content }
      send_person: { kind: read, from: trigger-url-elicitation, content: tool-content }
      model: { kind: read, from: 'mcp:sampling', content: asked-text }
      person: { kind: read, from: 'mcp:elicitation', content: asked-text, hosts: [pay.example] }
`.slice(1, -1)

const CAN = { sampling: {}, elicitation: { form: {}, url: {} } }

const POLICIES = `@id("tools.no-seven")
forbid (principal, action == Action::"tools.text", resource)
when { context.input.resourceId == "7" };

@id("tools.no-atlantis")
forbid (principal, action == Action::"tools.weather_prompt", resource)
when { context.input.city == "Atlantis" };
`

/** Whole numbers where the server takes any: the declaration may ask for less. */
function narrowed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(narrowed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key,
      key === 'type' && member === 'number' ? 'integer' : narrowed(member),
    ]),
  )
}

async function listed(client: Client): Promise<Record<string, unknown>> {
  const [tools, resources, templates, prompts] = await Promise.all([
    client.listTools(),
    client.listResources(),
    client.listResourceTemplates(),
    client.listPrompts(),
  ])
  return {
    tools: tools.tools,
    resources: resources.resources,
    resourceTemplates: templates.resourceTemplates,
    prompts: prompts.prompts,
  }
}

const codeOf = (error: unknown): string => {
  assert.ok(error instanceof McpError, String(error))
  // Whatever the server put there.
  return String((error.data as { readonly code?: unknown } | undefined)?.code)
}

describe('server-everything behind the gateway', () => {
  let server: McpProcess
  let world: World
  let reader: Connected
  before(async () => {
    server = await new McpProcess(join(EVERYTHING, 'streamableHttp.js')).ready()
    const plain = new PlainClient(
      { name: 'operator', version: '1' },
      { capabilities: { sampling: {}, elicitation: { form: {}, url: {} } } },
    )
    await plain.connect(
      new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${server.port}/mcp`)),
    )
    const pins = await listed(plain)
    await plain.close()
    const names = [...OPERATIONS.matchAll(/^ {6}(\w+):/gm)].map((found) => found[1] ?? '')
    const declaration = await declareTools({
      upstream:
        '{ url: https://tools.example/mcp, serverName: tools.example, caFile: tools-ca.pem }',
      caPem: server.front.caPem,
      offer: narrowed(pins),
      pins,
      operations: OPERATIONS,
      flows: { reader: names.filter((name) => name !== 'env'), teller: ['echo', 'long'] },
      policies: POLICIES,
    })
    world = await startWorld(
      {
        settings: { upstreamTimeoutMs: 60_000 },
      },
      undefined,
      () => declaration,
    )
    await world.restart({
      upstreams: {
        ...world.options.upstreams,
        tools: { host: '127.0.0.1', port: server.front.port },
      },
      settings: { upstreamTimeoutMs: 60_000 },
    })
    reader = await connectSdk(world.agent('reader'))
  })
  after(async () => {
    await reader?.close()
    await world?.close()
    await server?.close()
  })

  it('lists what the caller may reach, and hides the rest', async () => {
    const { tools } = await reader.client.listTools()
    const names = tools.map(({ name }) => name)
    assert.ok(names.includes('echo') && !names.includes('get-env'))
    const { resources } = await reader.client.listResources()
    assert.deepEqual(
      resources.map(({ uri }) => uri),
      [DOCUMENT],
    )
    const { resourceTemplates } = await reader.client.listResourceTemplates()
    assert.deepEqual(
      resourceTemplates.map(({ uriTemplate }) => uriTemplate),
      [`${TEXT}{resourceId}`],
    )
    assert.equal((await reader.client.listPrompts()).prompts.length, 4)
    const teller = await connectSdk(world.agent('teller'))
    assert.deepEqual(
      (await teller.client.listTools()).tools.map(({ name }) => name),
      ['echo', 'trigger-long-running-operation'],
    )
    assert.deepEqual(
      (await teller.client.listResources().catch(() => ({ resources: [] }))).resources,
      [],
    )
    await teller.close()
  })

  it('calls tools: text, pictures, links, embedded resources, structured content', async () => {
    const call = (name: string, args: Record<string, unknown> = {}) =>
      reader.client.callTool({ name, arguments: args })
    assert.deepEqual((await call('echo', { message: 'hi' })).content, [
      { type: 'text', text: 'Echo: hi' },
    ])
    assert.match(JSON.stringify(await call('get-sum', { a: 2, b: 40 })), /is 42/)
    const blocks = (await call('get-tiny-image')).content as { type: string; data?: string }[]
    const image = blocks.find(({ type }) => type === 'image')
    assert.ok((image?.data?.length ?? 0) > 100)
    const links = (await call('get-resource-links', { count: 2 })).content as {
      type: string
      description?: string
    }[]
    const link = links.find(({ type }) => type === 'resource_link')
    assert.ok(link)
    // Its class may not leave.
    assert.equal(link.description, undefined)
    const embedded = (await call('get-resource-reference', { resourceType: 'Text', resourceId: 1 }))
      .content as { type: string; resource?: { text?: string } }[]
    const resource = embedded.find(({ type }) => type === 'resource')?.resource
    assert.match(resource?.text ?? '', /^Resource 1:/)
    const weather = await call('get-structured-content', { location: 'Chicago' })
    assert.deepEqual(Object.keys(weather.structuredContent ?? {}).toSorted(), [
      'conditions',
      'temperature',
    ])
    await assert.rejects(call('get-env'), (error) => codeOf(error) === 'SP_NO_FLOW')
    await assert.rejects(call('get-roots-list'), (error) => codeOf(error) === 'SP_NO_OPERATION')
  })

  it('reads resources by URI, decided by what the URI says', async () => {
    const { contents } = await reader.client.readResource({ uri: `${TEXT}42` })
    assert.equal(contents.length, 1)
    assert.match(JSON.stringify(contents), /Resource 42: /)
    const document = await reader.client.readResource({ uri: DOCUMENT })
    assert.match(JSON.stringify(document.contents), /Features/i)
    const refused: Readonly<Record<string, string>> = {
      [`${TEXT}7`]: 'SP_DENIED_FORBIDDEN',
      [`${TEXT}%37`]: 'SP_NO_OPERATION',
      [`${TEXT}../blob/1`]: 'SP_NO_OPERATION',
      'demo://resource/dynamic/blob/1': 'SP_NO_OPERATION',
      'demo://resource/static/document/startup.md': 'SP_NO_OPERATION',
      'file:///etc/passwd': 'SP_NO_OPERATION',
      'http://169.254.169.254/latest/meta-data/': 'SP_NO_OPERATION',
    }
    for (const [uri, code] of Object.entries(refused)) {
      await assert.rejects(reader.client.readResource({ uri }), (error) => {
        assert.equal(codeOf(error), code, uri)
        return true
      })
    }
  })

  it('subscribes, and tells of updates of what was subscribed to alone', async () => {
    const updated: string[] = []
    reader.client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
      updated.push(params.uri)
    })
    await assert.rejects(
      reader.client.subscribeResource({ uri: `${TEXT}7` }),
      (error) => codeOf(error) === 'SP_DENIED_FORBIDDEN',
    )
    await reader.client.subscribeResource({ uri: `${TEXT}1` })
    await reader.client.callTool({ name: 'toggle-subscriber-updates', arguments: {} })
    await until(() => updated.length > 0)
    assert.deepEqual([...new Set(updated)], [`${TEXT}1`])
    await reader.client.unsubscribeResource({ uri: `${TEXT}1` })
    await reader.client.callTool({ name: 'toggle-subscriber-updates', arguments: {} })
  })

  it('gets prompts, decided by their arguments', async () => {
    const simple = await reader.client.getPrompt({ name: 'simple-prompt' })
    assert.equal(simple.messages[0]?.content.type, 'text')
    const { messages } = await reader.client.getPrompt({
      name: 'args-prompt',
      arguments: { city: 'Oslo' },
    })
    assert.match(JSON.stringify(messages), /weather in Oslo/)
    const resource = await reader.client.getPrompt({
      name: 'resource-prompt',
      arguments: { resourceType: 'Text', resourceId: '3' },
    })
    assert.match(JSON.stringify(resource.messages), /Resource 3: /)
    const get = (name: string, args: Record<string, string>) =>
      reader.client.getPrompt({ name, arguments: args })
    await assert.rejects(
      get('args-prompt', { city: 'Atlantis' }),
      (error) => codeOf(error) === 'SP_DENIED_FORBIDDEN',
    )
    await assert.rejects(get('args-prompt', {}), (error) => codeOf(error) === 'SP_INPUT_MISSING')
    await assert.rejects(
      get('args-prompt', { city: 'Oslo', country: 'NO' }),
      (error) => codeOf(error) === 'SP_INPUT_UNKNOWN',
    )
    await assert.rejects(get('nothing', {}), (error) => codeOf(error) === 'SP_NO_OPERATION')
  })

  it('completes arguments of what the caller may reach', async () => {
    const { completion } = await reader.client.complete({
      ref: { type: 'ref/prompt', name: 'completable-prompt' },
      argument: { name: 'department', value: 'E' },
    })
    assert.deepEqual(completion.values, ['Engineering'])
    const byUri = await reader.client.complete({
      ref: { type: 'ref/resource', uri: `${TEXT}{resourceId}` },
      argument: { name: 'resourceId', value: '12' },
    })
    assert.deepEqual(byUri.completion.values, ['12'])
    await assert.rejects(
      reader.client.complete({
        ref: { type: 'ref/resource', uri: 'demo://resource/dynamic/blob/{resourceId}' },
        argument: { name: 'resourceId', value: '1' },
      }),
      (error) => codeOf(error) === 'SP_NO_OPERATION',
    )
  })

  it('passes on what the server logs, from the level that was asked for', async () => {
    const logged: string[] = []
    reader.client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
      logged.push(params.level)
    })
    await reader.client.setLoggingLevel('debug')
    await reader.client.callTool({ name: 'toggle-simulated-logging', arguments: {} })
    await until(() => logged.length > 0)
    await reader.client.callTool({ name: 'toggle-simulated-logging', arguments: {} })
  })

  it('takes what the server asks to the client of the very session, and its answer back', async () => {
    const asked: unknown[] = []
    const other = await connectSdk(world.agent('reader', 'i2'), CAN, (client) => {
      client.setRequestHandler(CreateMessageRequestSchema, () => {
        throw new Error('somebody else was asked')
      })
    })
    const asking = await connectSdk(world.agent('reader'), CAN, (client) => {
      client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => {
        asked.push(params)
        return { role: 'assistant', model: 'm', content: { type: 'text', text: 'forty-two' } }
      })
      client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
        asked.push(params)
        return params.mode === 'url'
          ? { action: 'accept' }
          : { action: 'accept', content: { name: 'Ann', check: true, firstLine: 'Once' } }
      })
    })
    try {
      const call = async (name: string, args: Record<string, unknown> = {}): Promise<string> =>
        JSON.stringify((await asking.client.callTool({ name, arguments: args })).content)
      assert.match(
        await call('trigger-sampling-request', { prompt: 'why?', maxTokens: 9 }),
        /forty-two/,
      )
      assert.match(JSON.stringify(asked), /context: why\?.*"maxTokens":9/)
      assert.match(await call('trigger-elicitation-request'), /Ann/)
      assert.match(JSON.stringify(asked[1]), /Your full, legal name/)
      await call('trigger-url-elicitation', { url: 'https://pay.example/a?b=1' })
      assert.match(JSON.stringify(asked[2]), /https:\/\/pay\.example\/a\?b=1/)
      await call('trigger-url-elicitation', { url: 'https://evil.example/' })
      await call('trigger-url-elicitation', { url: 'http://pay.example/' })
      assert.equal(asked.length, 3)
    } finally {
      await asking.close()
      await other.close()
    }
    // Each was decided, by what the server asked.
    const records = world.plane
      .records()
      .flatMap((record) =>
        record.kind === 'decision' ? [`${record.operation} ${record.decision}`] : [],
      )
    for (const one of ['model allow', 'person allow']) assert.ok(records.includes(one), one)
  })

  it('tells of progress, and takes a cancellation to the server', async () => {
    const seen: number[] = []
    const long = (duration: number, steps: number, options: object) =>
      reader.client.callTool(
        { name: 'trigger-long-running-operation', arguments: { duration, steps } },
        undefined,
        options,
      )
    const done = await long(1, 4, {
      onprogress: ({ progress }: { progress: number }) => seen.push(progress),
    })
    assert.match(JSON.stringify(done.content), /completed/)
    assert.deepEqual(seen, [1, 2, 3, 4])
    const given = new AbortController()
    const cancelled = long(600, 600, {
      signal: given.signal,
      onprogress: () => {
        given.abort()
      },
    })
    await assert.rejects(cancelled)
    await until(() => world.gateway.stats().inFlight <= 1)
    // The session is as good as before.
    assert.deepEqual(
      (await reader.client.callTool({ name: 'echo', arguments: { message: 'x' } })).content,
      [{ type: 'text', text: 'Echo: x' }],
    )
  })
})
