import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, enrol, RefusedError } from '@sallyport/agent'
import type { AgentClient, Identity } from '@sallyport/agent'
import { errorCode } from '@sallyport/base'
import { certificatesFromPem, TrustBundle, verifySvid } from '@sallyport/spiffe'
import { list, members, textOf } from '../packages/cli/src/shape.ts'
import { Ledger } from './support/ledger.ts'
import { World } from './support/world.ts'

const DECLARATION = join(import.meta.dirname, 'support/declaration')
const PARTNER = 'partner.example'
const CLERK = `clerk@${PARTNER}`
const HANG_MS = 120_000

interface Hooks {
  after(fn: () => void): void
}

/** A copy of the declaration of `support/`, changed. */
function declaration(t: Hooks, change: (text: string) => string, policies = ''): string {
  const dir = mkdtempSync(join(tmpdir(), 'sp-federated-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  cpSync(DECLARATION, dir, { recursive: true })
  const file = join(dir, 'network.yaml')
  const before = readFileSync(file, 'utf8')
  const after = change(before)
  assert.notEqual(after, before)
  writeFileSync(file, after)
  if (policies !== '') writeFileSync(join(dir, 'policies/partners.cedar'), policies)
  return file
}

/** The other bank: the same declaration under its own name, with one agent more. */
const theirs = (t: Hooks): string =>
  declaration(t, (text) =>
    text
      .replace('trustDomain: test.example', `trustDomain: ${PARTNER}`)
      // Short, so that a change of their root waits for nothing longer.
      .replace('svidTtlSeconds: 120', 'svidTtlSeconds: 20')
      .replace(
        '\noperators:',
        '  auditor: { owner: tests, segment: agents, criticality: low, roles: [reader] }\n\noperators:',
      ),
  )

/** Ours: their clerk may come, and has the path that our own clerk has. */
function ours(t: Hooks, partner: World, bundle: string): string {
  const { host, port } = partner.planeTarget
  const file = declaration(
    t,
    (text) =>
      text
        .replace(
          '\noperators:',
          `
federation:
  ${PARTNER}:
    url: https://${host}:${port}/federation/bundle
    profile: https_spiffe
    spiffeId: spiffe://${PARTNER}/control
    bundleFile: partner.json
    maxAgeSeconds: 6
    agents:
      clerk: { path: '/agent/clerk/*', owner: tests, purpose: settlement, until: '2999-12-31' }

operators:`,
        )
        .replace(
          'flows:\n',
          `flows:\n  - { from: '${CLERK}', to: ledger, operations: [getEntry, post, draw, purge], purpose: settlement }\n`,
        )
        .replace(
          'agents: [clerk]\n    operations: [ledger.draw]',
          `agents: [clerk, '${CLERK}']\n    operations: [ledger.draw]`,
        ),
    `
@id("partner.reads")
permit (principal in ForeignAgent::"${CLERK}", action == Action::"ledger.getEntry", resource);

@id("partner.draws")
permit (principal in ForeignAgent::"${CLERK}", action == Action::"ledger.draw", resource);

@id("partner.posts-with-approval")
permit (principal in ForeignAgent::"${CLERK}", action == Action::"ledger.post", resource)
when { context.evidence.approvals >= 1 };

@id("partner.fields")
permit (principal in ForeignDomain::"${PARTNER}", action == Action::"field.read", resource == Field::"entries.id");
`,
  )
  writeFileSync(join(file, '../partner.json'), bundle)
  return file
}

const BIN = join(import.meta.dirname, '../packages/cli/bin/sallyport.ts')
const sallyport = (...args: readonly string[]): Promise<string> =>
  new Promise((resolve) => {
    execFile(process.execPath, [BIN, ...args], (_error, stdout) => resolve(stdout))
  })

const order = (amount: number) => ({ ref: `r${amount}`, amount })
const said = async (call: Promise<{ status: number }>): Promise<string> => {
  try {
    return String((await call).status)
  } catch (error) {
    return error instanceof RefusedError ? `${error.status} ${error.code}` : 'broken'
  }
}
const read = (client: AgentClient): Promise<string> =>
  said(client.request({ method: 'GET', path: '/ledger/v1/entries/e1' }))
const post = (client: AgentClient, path: string, amount: number): Promise<string> =>
  said(client.request({ method: 'POST', path: `/ledger/v1/${path}`, body: order(amount) }))

/** Where the chain of this identity ends. */
function rootOf({ holder }: Identity): string {
  const { chainPem, rootsPem, trustDomain } = holder.current()
  const bundles = new Map([[trustDomain, TrustBundle.fromPem(trustDomain, rootsPem)]])
  return verifySvid(certificatesFromPem(chainPem), bundles, { now: Date.now() }).root
}

async function becomes(wanted: string, ask: () => Promise<string>): Promise<void> {
  const until = performance.now() + HANG_MS
  for (;;) {
    const answer = await ask()
    if (answer === wanted) return
    assert.ok(performance.now() < until, `still ${answer}, not ${wanted}`)
    await sleep(50)
  }
}

test('an agent of another bank, with its own control plane, calls our gateway as far as it is declared', async (t) => {
  const partner = await World.start({ networkFile: theirs(t), services: new Ledger().services })
  t.after(() => partner.stop())
  const bundle = await (await fetch(`${partner.consoleUrl}/federation/bundle`)).text()
  const ledger = new Ledger()
  const bank = await World.start({
    networkFile: ours(t, partner, bundle),
    services: ledger.services,
  })
  t.after(() => bank.stop())

  const clients: AgentClient[] = []
  t.after(async () => {
    for (const client of clients) await client.close()
  })
  const gatewayTrust = { rootsPem: bank.rootsPem, trustDomain: bank.trustDomain }
  const visit = (identity: Identity): AgentClient => {
    const client = createClient({ identity, gateway: bank.gatewayTarget, gatewayTrust })
    clients.push(client)
    return client
  }
  const clerk = await partner.join('agent', 'clerk')
  const auditor = await partner.join('agent', 'auditor')
  t.after(() => {
    clerk.stop()
    auditor.stop()
  })
  const theirClerk = visit(clerk)
  const ourClerk = await bank.caller('clerk')
  clients.push(ourClerk)

  // The gateway asks the partner's control plane by itself before it lets anybody in.
  await becomes('200', () => read(theirClerk))
  const entry = await theirClerk.request({ method: 'GET', path: '/ledger/v1/entries/e1' })
  assert.deepEqual(entry.body, { entry: { id: '1' } })
  assert.equal(ledger.entries.at(-1)?.instance, clerk.spiffeId)
  assert.equal(await post(theirClerk, 'draws', 5), '200', 'counted by our control plane')

  // What our clerk may do by its path is nothing to theirs.
  assert.equal(await post(ourClerk, 'entries', 10), '200')
  assert.equal(await post(theirClerk, 'entries', 10), '403 SP_NEEDS_APPROVAL')
  const remove = { method: 'DELETE', path: '/ledger/v1/entries/e1' } as const
  assert.equal(await said(theirClerk.request(remove)), '403 SP_DENIED_FORBIDDEN')
  const desk = theirClerk.request({
    method: 'POST',
    path: '/desk/mcp',
    body: { jsonrpc: '2.0', id: 1, method: 'tools/list' },
  })
  assert.notEqual(await said(desk), '200')

  // Who is not declared does not come in; and nobody of theirs gets anything from our control plane.
  assert.equal(await read(visit(auditor)), 'broken')
  const stranger = createClient({ identity: clerk, gateway: bank.planeTarget, gatewayTrust })
  clients.push(stranger)
  assert.equal(await said(stranger.request({ method: 'GET', path: '/v1/status' })), 'broken')

  // Why, in one line, on either side.
  const explain = (id: string): Promise<string> =>
    sallyport('federation', 'explain', id, '--data', bank.data)
  assert.match(await explain(auditor.spiffeId), /no declared agent of .*\[SP_FOREIGN_AGENT\]\n$/)
  assert.match(await explain(clerk.spiffeId), /may connect .*\[SP_ALLOWED\]\n$/)
  const { chainPem, keyPem } = auditor.holder.current()
  const [cert, key] = [join(partner.data, 'a.pem'), join(partner.data, 'a.key')]
  writeFileSync(cert, chainPem)
  writeFileSync(key, keyPem, { mode: 0o600 })
  const { host, port } = bank.gatewayTarget
  const doctor = await sallyport(
    ...['doctor', '--connect', `${host}:${port}`, '--roots', join(bank.data, 'trust/ca.pem')],
    ...['--cert', cert, '--key', key],
  )
  assert.match(doctor, /of another trust domain .* there it has to be declared/)
  const listed = await sallyport('federation', 'list', '--data', bank.data)
  assert.match(listed, new RegExp(`${PARTNER} .*fresh`))
  assert.match(listed, new RegExp(`${CLERK} .*active .*/agent/clerk/\\* .*settlement`))

  // In the decisions they are who they are.
  const decisions = async () => {
    const path = `/api/decisions?agent=${encodeURIComponent(CLERK)}`
    return list(await bank.admin.get(path)).map(members)
  }
  await becomes('enough', async () => ((await decisions()).length > 3 ? 'enough' : 'too few'))
  const decided = await decisions()
  assert.ok(decided.every(({ instance }) => instance === clerk.spiffeId))

  // Nobody vouches for them while their control plane cannot be asked.
  await partner.control.stop(10_000)
  await becomes('503 SP_FOREIGN_STALE', () => read(theirClerk))
  assert.equal(await read(ourClerk), '200')
  await partner.startControl()
  // Identities that live for seconds may have ended meanwhile: another instance of the same agent.
  const later = await partner.join('agent', 'clerk')
  t.after(() => later.stop())
  const laterClerk = visit(later)
  await becomes('200', () => read(laterClerk))

  // Their root is replaced, by their operators: nobody of ours does anything, and no call fails.
  const first = rootOf(later)
  const load = { on: true, calls: 0, failures: [] as string[] }
  const working = (async () => {
    while (load.on) {
      const answer = await read(laterClerk)
      load.calls++
      if (answer !== '200') load.failures.push(answer)
      await sleep(20)
    }
  })()
  t.after(() => {
    load.on = false
  })
  const operator = await partner.operator()
  await partner.admin.post('/api/ca/root/prepare', {})
  assert.equal(await operator.signRoot(), true)
  const step = (name: string) => async (): Promise<string> => {
    try {
      await partner.admin.post(`/api/ca/root/${name}`, {})
      return 'done'
    } catch (error) {
      return errorCode(error)
    }
  }
  await becomes('done', step('activate'))
  await becomes('below the new root', () =>
    Promise.resolve(rootOf(later) === first ? 'below the old root' : 'below the new root'),
  )
  await becomes('done', step('retire'))
  const held = async (): Promise<string> => {
    const [domain] = list(await bank.admin.get('/api/federation')).map(members)
    const roots = list(members(domain?.bundle).keys).map(members)
    return String(roots.filter(({ use }) => use === 'x509-svid').length)
  }
  await becomes('1', held)
  const then = load.calls
  await becomes('more calls', () => Promise.resolve(load.calls > then + 50 ? 'more calls' : 'few'))
  load.on = false
  await working
  assert.deepEqual(load.failures, [])

  // The whole bank, in one act, with what is open.
  await bank.admin.post('/api/quarantine', {
    subject: `spiffe://${PARTNER}`,
    reason: 'their bank called',
  })
  // The answer waits a quarter of a second for the gateway, which on a busy machine may need longer.
  await becomes('broken', () => read(laterClerk))
  const reached = ledger.entries.length
  assert.equal(await read(laterClerk), 'broken')
  const another = await enrol({
    planeTarget: partner.planeTarget,
    rootsPem: readFileSync(join(partner.data, 'trust/ca.pem'), 'utf8'),
    trustDomain: PARTNER,
    token: textOf(members(await partner.joinToken('agent', 'clerk')).token),
  })
  assert.equal(await read(visit(another)), 'broken')
  assert.equal(await read(ourClerk), '200')
  assert.equal(ledger.entries.length, reached + 1)
  assert.match(await explain(clerk.spiffeId), /SP_QUARANTINED/)
  // Our own clerk of the same name keeps its certificate.
  const known = list(members(await bank.admin.get('/api/agents/clerk')).instances).map(members)
  assert.ok(known.length > 0 && known.every(({ quarantined }) => quarantined !== true))
})
