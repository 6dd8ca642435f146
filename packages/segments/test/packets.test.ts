import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { CONTROL_PORT, GATEWAY_PORT, reachability } from '@sallyport/network'
import type { Network } from '@sallyport/network'
import { emitNftables, interpretNftables } from '@sallyport/segments'
import { meridian } from './networks.ts'

// Real packets through a real kernel: one namespace for each node, routed by one that loads the emitted ruleset.

const run = (command: string, ...args: string[]): string => {
  const result = spawnSync(command, args, { encoding: 'utf8', timeout: 20_000 })
  assert.equal(result.status, 0, `${command} ${args.join(' ')}: ${result.stderr}`)
  return result.stdout
}
const works = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { timeout: 20_000 }).status === 0

const probe = `spp${randomBytes(3).toString('hex')}`
function missing(): string | false {
  if (process.platform !== 'linux') return 'not Linux'
  if (process.getuid?.() !== 0) return 'not root'
  if (!works('ip', '-V') || !works('nft', '--version')) return 'no ip or nft'
  if (!works('ip', 'netns', 'add', probe)) return 'network namespaces are not permitted here'
  const nft = works('ip', 'netns', 'exec', probe, 'nft', 'add', 'table', 'inet', 'probe')
  spawnSync('ip', ['netns', 'del', probe])
  return nft ? false : 'nftables is not permitted here'
}
const skip = missing()

const NODES = [
  'agent/monitor',
  'agent/notifier',
  'gateway',
  'control',
  'service/core-banking',
] as const
const LAB = `sp${randomBytes(3).toString('hex')}`
const ROUTER = `${LAB}r`
const space = (node: string): string => `${LAB}${NODES.indexOf(node as (typeof NODES)[number])}`
const veth = (node: string): string => `${LAB}v${NODES.indexOf(node as (typeof NODES)[number])}`
const address = (node: string): string =>
  `10.77.0.${NODES.indexOf(node as (typeof NODES)[number]) + 10}`
const inside = (node: string, ...args: string[]): string[] => [
  'netns',
  'exec',
  space(node),
  ...args,
]

const servers: ChildProcess[] = []
let network: Network
let ruleset: string

/** Only the nodes of the lab, so that the whole of it can be asked packet by packet. */
function lab(whole: Network): Network {
  const keep = new Set<string>(NODES)
  return {
    ...whole,
    agents: whole.agents.filter((agent) => keep.has(`agent/${agent.name}`)),
    services: whole.services.filter((service) => keep.has(`service/${service.name}`)),
    systems: whole.systems.filter((system) => system.name === 'core-banking'),
    flows: whole.flows.filter((flow) => flow.to === 'core-banking'),
  }
}

const LISTEN = `
const net = require('node:net')
const ports = process.argv.slice(1).map(Number)
let open = 0
for (const port of ports) net.createServer((s) => { s.on('error', () => {}); s.on('data', (d) => s.write(d)) })
  .listen(port, '0.0.0.0', () => { if (++open === ports.length) console.log('ready') })
`
const DIAL = `
const net = require('node:net')
const [host, port, from] = process.argv.slice(1)
const socket = net.connect({ host, port: Number(port), ...(from && { localAddress: from }) })
setTimeout(() => process.exit(3), 400)
socket.on('connect', () => process.exit(0))
socket.on('error', (error) => process.exit(error.code === 'ECONNREFUSED' ? 0 : 3))
`
/** Echoes a byte every 20 ms and prints how many came back; ends by itself. */
const STREAM = `
const net = require('node:net')
const [host, port] = process.argv.slice(1)
const socket = net.connect({ host, port: Number(port) })
socket.setNoDelay(true)
socket.on('data', () => console.log(Date.now()))
socket.on('connect', () => setInterval(() => socket.write('x'), 20))
setTimeout(() => process.exit(0), 5000)
`

/** Whether a connection (or a refusal by the other host itself) comes back: the packets passed. */
function reaches(from: string, to: string, port: number, source = ''): boolean {
  const args = inside(from, process.execPath, '-e', DIAL, address(to), String(port), source)
  return spawnSync('ip', args, { timeout: 10_000 }).status === 0
}

const ports = [GATEWAY_PORT, CONTROL_PORT, 7101, 7999]

before(async () => {
  if (skip !== false) return
  network = lab(await meridian())
  run('ip', 'netns', 'add', ROUTER)
  const router = (...args: string[]): string => run('ip', 'netns', 'exec', ROUTER, ...args)
  router('sysctl', '-q', '-w', 'net.ipv4.ip_forward=1')
  for (const node of NODES) {
    run('ip', 'netns', 'add', space(node))
    run(
      'ip',
      'link',
      'add',
      veth(node),
      'netns',
      ROUTER,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      space(node),
    )
    router('ip', 'link', 'set', veth(node), 'up')
    router('ip', 'route', 'add', `${address(node)}/32`, 'dev', veth(node))
    router('ip', 'addr', 'add', '169.254.1.1/32', 'dev', veth(node))
    run('ip', ...inside(node, 'ip', 'link', 'set', 'lo', 'up'))
    run('ip', ...inside(node, 'ip', 'link', 'set', 'eth0', 'up'))
    run('ip', ...inside(node, 'ip', 'addr', 'add', `${address(node)}/32`, 'dev', 'eth0'))
    run('ip', ...inside(node, 'ip', 'route', 'add', '169.254.1.1', 'dev', 'eth0'))
    run('ip', ...inside(node, 'ip', 'route', 'add', 'default', 'via', '169.254.1.1'))
    const server = spawn('ip', inside(node, process.execPath, '-e', LISTEN, ...ports.map(String)), {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    servers.push(server)
    await once(server.stdout, 'data')
  }
  ruleset = emitNftables(network, {
    ...Object.fromEntries(
      NODES.map((node) => [node, { address: address(node), interface: veth(node) }]),
    ),
    dns: { address: '10.77.0.53' },
  })
})

after(() => {
  if (skip !== false) return
  for (const server of servers) server.kill('SIGKILL')
  for (const node of NODES) spawnSync('ip', ['netns', 'del', space(node)])
  spawnSync('ip', ['netns', 'del', ROUTER])
})

const load = (text: string): void => {
  const result = spawnSync('ip', ['netns', 'exec', ROUTER, 'nft', '-f', '-'], {
    input: text,
    encoding: 'utf8',
  })
  assert.equal(result.status, 0, result.stderr)
}

const options = skip === false ? {} : { skip }

test('without rules every direction is open: the positive control', options, () => {
  for (const [from, to, port] of [
    ['agent/monitor', 'gateway', GATEWAY_PORT],
    ['agent/monitor', 'agent/notifier', 7999],
    ['agent/monitor', 'service/core-banking', 7101],
    ['service/core-banking', 'gateway', 7999],
  ] as const) {
    assert.ok(reaches(from, to, port), `${from} ${to} ${port}`)
  }
})

test('the kernel reads the emitted ruleset as the interpreter does', options, () => {
  load(ruleset)
  const listed = run('ip', 'netns', 'exec', ROUTER, 'nft', 'list', 'table', 'inet', 'sallyport')
  const wanted = reachability(network).allowed
  assert.deepEqual(interpretNftables(listed).allowed, wanted)
  assert.deepEqual(interpretNftables(ruleset).allowed, wanted)
})

test('packets pass exactly where the matrix says so', options, () => {
  load(ruleset)
  const { allowed } = reachability(network)
  let open = 0
  for (const from of NODES) {
    for (const to of NODES) {
      if (from === to) continue
      for (const port of ports) {
        const expected = allowed.has(`${from}|${to}|${port}|tcp`)
        if (expected) open++
        // Every declared path, and of the many others each agent's and one port a pair, to stay quick.
        else if (port !== (from.startsWith('agent/') ? 7101 : 7999)) continue
        assert.equal(reaches(from, to, port), expected, `${from} ${to} ${port}`)
      }
    }
  }
  assert.equal(open, 7)
})

/** Packets that the origin rule drops are counted, to see that it is this rule that drops them. */
const counted = (text: string): string =>
  text.replace('!= @sp_origins drop', () => '!= @sp_origins counter drop')
const dropped = (): number => {
  const listed = run('ip', 'netns', 'exec', ROUTER, 'nft', 'list', 'table', 'inet', 'sallyport')
  return Number(/@sp_origins counter packets (\d+)/.exec(listed)?.[1] ?? 'NaN')
}

test(
  'an agent that takes the address of the gateway is dropped at its own interface',
  options,
  () => {
    load(counted(ruleset))
    // The control: under its own address it is not dropped by that rule.
    assert.ok(reaches('agent/notifier', 'gateway', GATEWAY_PORT))
    assert.equal(dropped(), 0)
    run(
      'ip',
      ...inside('agent/notifier', 'ip', 'addr', 'add', `${address('gateway')}/32`, 'dev', 'eth0'),
    )
    try {
      assert.equal(
        reaches('agent/notifier', 'service/core-banking', 7101, address('gateway')),
        false,
      )
      assert.ok(dropped() > 0)
    } finally {
      run(
        'ip',
        ...inside('agent/notifier', 'ip', 'addr', 'del', `${address('gateway')}/32`, 'dev', 'eth0'),
      )
    }
  },
)

test(
  'losing a flow leaves what is connected alive; quarantine cuts it at once',
  options,
  async () => {
    load(ruleset)
    const args = inside(
      'agent/monitor',
      process.execPath,
      '-e',
      STREAM,
      address('gateway'),
      String(GATEWAY_PORT),
    )
    const stream = spawn('ip', args, { stdio: ['ignore', 'pipe', 'ignore'] })
    servers.push(stream)
    let last = 0
    let count = 0
    stream.stdout.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.trim().split('\n')) {
        last = Number(line)
        count++
      }
    })
    const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
    await once(stream.stdout, 'data')

    const flow = `{ ${address('agent/monitor')} . ${address('gateway')} . ${GATEWAY_PORT} }`
    run(
      'ip',
      'netns',
      'exec',
      ROUTER,
      'nft',
      'delete',
      'element',
      'inet',
      'sallyport',
      'sp_tcp',
      flow,
    )
    const before = count
    await wait(400)
    assert.ok(count > before + 5, 'the established connection lives on')
    assert.equal(reaches('agent/monitor', 'gateway', GATEWAY_PORT), false, 'no new one')

    const asked = Date.now()
    const node = `{ ${address('agent/monitor')} }`
    run(
      'ip',
      'netns',
      'exec',
      ROUTER,
      'nft',
      'add',
      'element',
      'inet',
      'sallyport',
      'sp_quarantined',
      node,
    )
    const applied = Date.now()
    await wait(800)
    assert.ok(last <= applied + 50, `the last byte came ${last - asked} ms after the quarantine`)
    const cut = count
    await wait(400)
    assert.equal(count, cut, 'not one byte more')
    stream.kill('SIGKILL')
  },
)
