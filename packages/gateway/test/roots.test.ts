import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { agentId, certificatesFromPem, createIssuer, createRoot } from '@sallyport/spiffe'
import type { IdentityMaterial } from '@sallyport/transport'
import type { RootList, RootStatement } from '@sallyport/wire'
import { startWorld, TestAgent, until } from './support/world.ts'
import type { World } from './support/world.ts'

const A = '/bank/v1/accounts/A'

let world: World
let agents: TestAgent[] = []
afterEach(async () => {
  await Promise.all(agents.map(({ pool }) => pool.destroy()))
  agents = []
  await world.close()
})

const created = () => createRoot({ trustDomain: world.plane.trustDomain, ttlSeconds: 86_400 })
type Root = ReturnType<typeof created>
const derOf = ({ certificatePem }: Root): Buffer => {
  const [der] = certificatesFromPem(certificatePem)
  assert.ok(der)
  return der
}
const fingerprintOf = (root: Root): string => createHash('sha256').update(derOf(root)).digest('hex')

/** An agent below this root, that knows it beside the gateway's. */
function below(root: Root, instance: string): TestAgent {
  const { trustDomain, pins } = world.plane
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { chainPem, notAfter } = createIssuer({
    certificatePem: root.certificatePem,
    privateKey: root.privateKeyPem,
  }).issue({
    spiffeId: agentId(trustDomain, 'reader', instance),
    publicKeySpki: publicKey.export({ type: 'spki', format: 'der' }),
    ttlSeconds: 600,
  })
  const material: IdentityMaterial = {
    ...{ chainPem, notAfter, trustDomain, rootsPem: pins.roots },
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
  const agent = new TestAgent(world, material)
  agents.push(agent)
  return agent
}

function added(root: Root): RootList['added'][number] {
  const { plane } = world
  const statement: RootStatement = {
    ...{ kind: 'root', trustDomain: plane.trustDomain, operators: plane.operators.version },
    certificate: derOf(root).toString('base64url'),
  }
  return { statement, signatures: [plane.operator.sign(statement)] }
}
const accepted = async (agent: TestAgent): Promise<boolean> => {
  try {
    return (await agent.ask({ path: A })).status === 200
  } catch {
    return false
  }
}
const publish = (roots: RootList): void => {
  world.plane.roots = roots
  world.plane.publish()
}

describe('roots', () => {
  it('come with bundles that a quorum signed, as the gateway runs; unsigned they are refused', async () => {
    world = await startWorld()
    const root = created()
    const one = below(root, 'one')
    assert.equal(await accepted(one), false)
    const unsigned = { ...added(root), signatures: [] }
    publish({ added: [unsigned], retired: [] })
    await until(() => world.gateway.stats().bundlesRefused === 1)
    assert.equal(await accepted(below(root, 'two')), false)
    await until(() =>
      world.plane
        .records()
        .some(
          (r) => r.kind === 'event' && r.event === 'bundle-refused' && r.code === 'SP_BUNDLE_ROOTS',
        ),
    )
    const { bundlesAccepted } = world.gateway.stats()
    publish({ added: [added(root)], retired: [] })
    await until(() => world.gateway.stats().bundlesAccepted > bundlesAccepted)
    assert.equal(await accepted(below(root, 'three')), true)
    assert.equal(await accepted(world.agent('reader')), true)
    // What it was given on a start by hand changes nothing; what it has seen, it keeps.
    await world.restart({ trustPins: { ...world.plane.pins, roots: created().certificatePem } })
    assert.equal(await accepted(below(root, 'four')), true)
    assert.equal(await accepted(world.agent('reader', 'i2')), true)
  })

  it('that no peer could be verified against are refused before anything is kept', async () => {
    world = await startWorld()
    const foreign = createRoot({ trustDomain: 'other.test', ttlSeconds: 86_400 })
    publish({ added: [added(foreign)], retired: [] })
    await until(() => world.gateway.stats().bundlesRefused === 1)
    assert.equal(await accepted(world.agent('reader')), true)
    const seen = await readFile(join(world.dataDir, 'seen.json'), 'utf8')
    assert.equal(JSON.parse(seen).roots, undefined)
  })

  it('that are retired take what stands below them along, open connections too, and no other', async () => {
    world = await startWorld()
    const root = created()
    publish({ added: [added(root)], retired: [] })
    await until(() => world.gateway.stats().bundlesAccepted >= 2)
    const gone = below(root, 'gone')
    const stays = world.agent('reader', 'stays')
    assert.equal(await accepted(gone), true)
    assert.equal(await accepted(stays), true)
    const open = await gone.raw()
    const closed = new Promise<void>((resolve) => open.once('close', () => resolve()))
    open.on('error', () => undefined)
    const { socketsCut } = world.gateway.stats()
    publish({ added: [], retired: [fingerprintOf(root)] })
    await closed
    assert.ok(world.gateway.stats().socketsCut > socketsCut)
    assert.equal(await accepted(gone), false)
    assert.equal(await accepted(below(root, 'new')), false)
    assert.equal(await accepted(stays), true)
    await until(() =>
      world.plane.records().some((r) => r.kind === 'event' && r.event === 'root-retired'),
    )

    // A control plane that forgot it, as one whose database was restored: refused, and shown what is known here.
    const { bundlesRefused } = world.gateway.stats()
    publish({ added: [added(root)], retired: [] })
    await until(() => world.gateway.stats().bundlesRefused > bundlesRefused)
    assert.equal(await accepted(below(root, 'again')), false)
    await until(() => world.plane.shown.length > 0)
    publish({ added: [], retired: [fingerprintOf(root)] })
    await world.restart()
    assert.equal(await accepted(below(root, 'late')), false)
    assert.equal(await accepted(world.agent('reader', 'late')), true)
  })
})
