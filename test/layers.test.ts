/** `sallyport check --layers`: a disagreement that is planted in a layer is named, and an untouched layer has none. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { loadDeclaration } from '@sallyport/network'
import type { Declaration } from '@sallyport/network'
import { emitNetworkPolicy, emitNftables } from '@sallyport/segments'
import { compareAll } from '../packages/cli/src/layers.ts'
import type { LayerSources } from '../packages/cli/src/layers.ts'
import { selfCommand } from '../packages/cli/src/supervise.ts'
import { TestBank } from '../packages/control/test/support/bank.ts'

const MERIDIAN = join(import.meta.dirname, '../examples/meridian')
const at = mkdtempSync(join(tmpdir(), 'sp-layers-'))
after(() => rmSync(at, { recursive: true, force: true }))

let copies = 0
/** A copy of Meridian that a test may spoil. */
function copy(): { folder: string; networkFile: string } {
  const folder = join(at, String(++copies))
  cpSync(MERIDIAN, folder, { recursive: true })
  return { folder, networkFile: join(folder, 'network.yaml') }
}

async function says(
  networkFile: string,
  sources: Omit<LayerSources, 'networkFile'> = {},
  change: (declaration: Declaration) => Declaration = (same) => same,
): Promise<string[]> {
  const declaration = change(await loadDeclaration({ networkFile }))
  const reports = await compareAll(declaration, { ...sources, networkFile })
  return reports.flatMap(({ disagreements }) =>
    disagreements.map((one) => `${one.between.join(' ≠ ')}: ${one.says}`),
  )
}

describe('layers that enforce one declaration', () => {
  it('agree, where nothing was planted', async () => {
    const { networkFile } = copy()
    assert.deepEqual(await says(networkFile), [])
  })

  it('disagree where a flow leads to what no policy allows, and a connection stays open for it', async () => {
    const { folder, networkFile } = copy()
    appendFileSync(
      join(folder, 'policies/50-edge.cedar'),
      '\n@id("nobody-writes")\nforbid (principal, action == Action::"messages.sendMessage", resource);\n',
    )
    assert.deepEqual(await says(networkFile), [
      'adapter ≠ policy: the gateway takes POST /v1/messages of `messages` from agent `notifier` (flow `notifier-to-messages`), but `nobody-writes` forbids it',
      'segments ≠ policy: gateways may connect to service `messages`, port 7104, but no policy allows any call of `messages`',
    ])
    const { command, args } = selfCommand('check', networkFile, '--layers', '--json')
    const { status, stdout } = spawnSync(command, [...args], { encoding: 'utf8' })
    assert.equal(status, 7)
    const { layers } = JSON.parse(stdout) as {
      layers: { layer: string; disagreements: unknown[] }[]
    }
    assert.equal(layers.find(({ layer }) => layer === 'adapter')?.disagreements.length, 1)
  })

  it('disagree where an upstream describes itself otherwise than was declared', async () => {
    const { networkFile } = copy()
    const described = join(at, 'described')
    mkdirSync(join(described, 'mcp'), { recursive: true })
    const text = readFileSync(join(MERIDIAN, 'mcp/case-store.json'), 'utf8')
    const tools = JSON.parse(text) as {
      tools: { name: string; description: string; inputSchema: { properties: object } }[]
    }
    const write = (): void =>
      writeFileSync(join(described, 'mcp/case-store.json'), JSON.stringify(tools))
    for (const tool of tools.tools) tool.description += ' In other words.'
    write()
    assert.deepEqual(await says(networkFile, { described }), [])
    const note = tools.tools.find(({ name }) => name === 'add_note')
    assert.ok(note)
    note.inputSchema.properties = {
      ...note.inputSchema.properties,
      copyTo: { type: 'string', maxLength: 100 },
    }
    write()
    assert.deepEqual(await says(networkFile, { described }), [
      'adapter ≠ adapter: operation `add_note` of `case-store` is held to another description than its upstream has now: it takes `copyTo`, which is not declared',
    ])
    tools.tools = tools.tools.filter(({ name }) => name !== 'file_sar')
    write()
    const [gone] = await says(networkFile, { described })
    assert.match(
      gone ?? '',
      /^adapter ≠ adapter: with the descriptions that upstreams have now, .*`file_sar`/,
    )
  })

  it('disagree where what is installed lets more through, or less, than the declaration', async () => {
    const { networkFile } = copy()
    const { network } = await loadDeclaration({ networkFile })
    const nodes = [
      ...network.agents.map(({ name }) => `agent/${name}`),
      ...network.services.map(({ name }) => `service/${name}`),
      ...['gateway', 'control', 'dns'],
    ]
    const addresses = Object.fromEntries(
      nodes.map((node, i) => [node, { address: `10.0.0.${i + 1}` }]),
    )
    const address = (node: string): string => addresses[node]?.address ?? ''
    const ruleset = emitNftables(network, addresses)
    const file = join(at, 'installed.nft')
    writeFileSync(file, ruleset)
    assert.deepEqual(await says(networkFile, { nftables: file }), [])
    const first =
      '  set sp_tcp {\n    type ipv4_addr . ipv4_addr . inet_service\n    elements = {\n'
    assert.ok(ruleset.includes(first))
    const hole = `${address('agent/monitor')} . ${address('service/pii-vault')} . 7102`
    writeFileSync(file, ruleset.replace(first, `${first}      ${hole},\n`))
    assert.deepEqual(await says(networkFile, { nftables: file }), [
      'segments ≠ policy: what is installed (installed.nft) lets `agent/monitor` to `service/pii-vault`, port 7102 tcp through, and nothing declares it',
    ])
    const yaml = join(at, 'installed.yaml')
    writeFileSync(yaml, emitNetworkPolicy(network))
    assert.deepEqual(await says(networkFile, { kubernetes: yaml }), [])
    writeFileSync(
      yaml,
      emitNetworkPolicy({ ...network, flows: network.flows.filter(({ to }) => to !== 'messages') }),
    )
    const missing = await says(networkFile, { kubernetes: yaml })
    assert.ok(
      missing.some((line) => line.includes('stops `gateway` to `service/messages`, port 7104 tcp')),
      missing.join('\n'),
    )
  })

  it('disagree where an account in a database may do what no policy allows', async () => {
    const { networkFile } = copy()
    const grant = {
      schema: 'public',
      table: 'accounts',
      columns: ['id', 'balance'],
      actions: ['select'],
    } as const
    const declared =
      (columns: readonly string[], rows = false) =>
      (declaration: Declaration): Declaration => {
        const { network } = declaration
        const account = {
          ttlSeconds: 60,
          maxTtlSeconds: 60,
          maxConnections: 1,
          statementTimeoutMs: 1000,
        }
        const row = {
          id: 'r',
          source: 'permit (principal, action, resource);',
          file: 'r.cedar',
          line: 1,
        }
        const [core] = network.systems
        assert.ok(core)
        return {
          policies: [
            ...declaration.policies,
            {
              ...{ id: 'reads-ledger', file: 'x.cedar', line: 1 },
              source:
                'permit (principal in Agent::"monitor", action == Action::"ledger.read", resource);',
            },
            {
              ...{ id: 'sees-ids', file: 'x.cedar', line: 2 },
              source:
                'permit (principal in Agent::"monitor", action == Action::"field.read", resource == Field::"accounts.id");',
            },
            ...['balance', 'id'].map((field, i) => ({
              ...{ id: `no-balance-${i}`, file: 'x.cedar', line: 3 + i },
              source:
                field === 'balance'
                  ? 'forbid (principal, action == Action::"field.read", resource == Field::"accounts.balance");'
                  : 'permit (principal in Agent::"monitor", action == Action::"field.tokenise", resource == Field::"accounts.id");',
            })),
          ],
          network: {
            ...network,
            systems: [
              ...network.systems,
              {
                ...{
                  name: 'ledger',
                  description: '',
                  owner: 'o',
                  segment: core.segment,
                  criticality: 'low',
                },
                protocol: 'postgres',
                upstream: core.upstream,
                postgres: {
                  ...{ database: 'bank', user: 'gateway', secret: 's', statementTimeoutMs: 1000 },
                  tables: [
                    {
                      ...{
                        name: 'accounts',
                        schema: 'public',
                        table: 'accounts',
                        dataset: 'accounts',
                        key: 'id',
                      },
                      ...{ columns: { id: 'text', balance: 'int8' }, maxRows: 10 },
                      ...(rows ? { rows: [row] } : {}),
                    },
                  ],
                },
                operations: [
                  {
                    ...{ name: 'read', description: '', kind: 'read' },
                    binding: { kind: 'postgres', action: 'select', table: 'accounts' },
                    input: { type: 'record', members: {} },
                    returns: { '$[]': 'accounts' },
                  },
                ],
              },
            ],
            flows: [
              ...network.flows,
              {
                id: 'l',
                from: 'monitor',
                to: 'ledger',
                operations: ['read'],
                purpose: 'monitoring',
              },
            ],
            databases: [
              {
                ...{
                  name: 'db',
                  description: '',
                  owner: 'o',
                  host: '/run',
                  port: 5432,
                  database: 'bank',
                },
                ...{ admin: { user: 'a', secret: 's' }, login: 'password' },
                accounts: [{ ...account, agent: 'monitor', grants: [{ ...grant, columns }] }],
              },
            ],
          },
        }
      }
    assert.deepEqual(await says(networkFile, {}, declared(['id'])), [])
    const head =
      'database ≠ policy: agent `monitor` may select `public.accounts` in `db` by grant, but '
    assert.deepEqual(await says(networkFile, {}, declared(['id', 'balance'])), [
      `${head}no policy lets it see \`accounts.balance\` whole`,
    ])
    assert.deepEqual(await says(networkFile, {}, declared(['id'], true)), [
      `${head}policies let it see some rows only, and the grant has all of them`,
    ])
    const elsewhere = (declaration: Declaration): Declaration => {
      const { policies, network } = declared(['id'])(declaration)
      const databases = (network.databases ?? []).map((one) => ({ ...one, database: 'other' }))
      return { policies, network: { ...network, databases } }
    }
    assert.deepEqual(await says(networkFile, {}, elsewhere), [
      `${head}no system declares that table, so no policy speaks of it`,
    ])
  })

  it('disagree where a database really grants more than the declaration: asked of the server', async (t) => {
    const bank = await TestBank.start()
    t.after(() => bank.close())
    const plane = await bank.plane()
    t.after(() => plane.close())
    const peer = await plane.enrol('agent', 'flagger')
    const answer = await peer.call('POST', '/v1/databases/ledger/account', {})
    const user = String(answer.body['user'])
    const { networkFile } = copy()
    assert.deepEqual(await says(networkFile, { data: plane.dataDir }), [])
    await bank.admin.query(`GRANT SELECT (iban) ON accounts TO ${user}`)
    assert.deepEqual(await says(networkFile, { data: plane.dataDir }), [
      `database ≠ policy: \`${user}\` (${peer.spiffeId}) may select \`public.accounts.iban\` in \`ledger\`, which the declaration does not give it`,
    ])
  })
})
