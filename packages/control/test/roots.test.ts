import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { errorCode } from '@sallyport/base'
import {
  certificatesFromPem,
  createIssuer,
  csrFor,
  readBundleDocument,
  signAuthority,
  TrustBundle,
  verifySvid,
} from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { acceptBundle, acceptRoots, rootFingerprint, trustedRoots } from '@sallyport/wire'
import type { BundleState, RootTrust, TrustPins } from '@sallyport/wire'
import type { Roots } from '../src/authority/roots.ts'
import type { Enrolled } from '../src/domain/renewals.ts'
import { declarationWith, TRUST_DOMAIN } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Signer } from './support/signer.ts'

const TTL = 900
let ahead = 0
/** Everything here is judged by this clock; nothing waits, and no handshake is made with what it dates. */
const clock = { now: () => Date.now() + ahead, monotonic: () => performance.now() + ahead }

let plane: TestPlane
let alice: Signer
let olga: Signer
let bob: Signer
/** What a gateway pinned, and has seen. */
let pins: TrustPins
let seen: BundleState
const context = () => plane.control.context
const trustFile = (name: string): string => join(plane.dataDir, 'trust', name)
const read = (name: string): string => readFileSync(trustFile(name), 'utf8')
const take = (): void => {
  seen = acceptBundle(seen, context().bundles.current(), pins, { now: clock.now() })
}
const codeOf = (act: () => unknown): string => {
  try {
    act()
    return 'accepted'
  } catch (error) {
    return errorCode(error)
  }
}

/** An agent as it follows its renewals: by the roots that it was given, and by proofs. */
class Agent {
  readonly given: string
  #genesisKey = ''
  #trust: RootTrust | undefined
  #key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  chain = ''

  constructor(given: string) {
    this.given = given
  }

  get roots(): string {
    return trustedRoots(this.#trust?.roots, { roots: this.given })
  }

  verify(chainPem: string): VerifiedSvid {
    const bundle = TrustBundle.fromPem(TRUST_DOMAIN, this.roots)
    const bundles = new Map([[TRUST_DOMAIN, bundle]])
    return verifySvid(certificatesFromPem(chainPem), bundles, { now: clock.now() })
  }

  async enrol(): Promise<void> {
    const answer = await context().identities.enrol(
      await plane.token('agent', 'flagger'),
      csrFor(this.#key),
    )
    this.#genesisKey = answer.genesisKey ?? ''
    this.#take(answer)
  }

  async renew(): Promise<void> {
    const peer = this.verify(this.chain)
    this.#key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    this.#take(await context().identities.renew(peer, csrFor(this.#key)))
  }

  #take({ chain, rootProof }: Enrolled): void {
    if (rootProof) {
      const anchors = { trustDomain: TRUST_DOMAIN, genesisKey: this.#genesisKey, roots: this.given }
      // As it comes over the wire.
      this.#trust = acceptRoots(this.#trust, JSON.parse(JSON.stringify(rootProof)), anchors)
    }
    this.verify(chain)
    this.chain = chain
  }
}

/** An SVID by a key of the folder `trust`, as who holds that key would make one: below the root of this PEM. */
function forge(keyFile: string, rootPem: string): string {
  const key = createPrivateKey(readFileSync(keyFile, 'utf8'))
  const root = {
    certificatePem: rootPem,
    signer: {
      publicKey: createPublicKey(key),
      sign: (data: Uint8Array) => sign('sha256', data, key),
    },
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const certificatePem = signAuthority(root, { publicKey, ttlSeconds: 86_400, now: clock.now() })
  return createIssuer({ certificatePem, privateKey }).issue({
    spiffeId: `spiffe://${TRUST_DOMAIN}/agent/flagger/1`,
    publicKeySpki: publicKey.export({ format: 'der', type: 'spki' }),
    ttlSeconds: TTL,
    now: clock.now(),
  }).chainPem
}
/** As a gateway judges it. */
const gatewayTakes = (chainPem: string): string =>
  codeOf(() => {
    const bundle = TrustBundle.fromPem(TRUST_DOMAIN, trustedRoots(seen.roots, pins))
    const bundles = new Map([[TRUST_DOMAIN, bundle]])
    verifySvid(certificatesFromPem(chainPem), bundles, { now: clock.now() })
  })
const states = (roots: Awaited<ReturnType<Roots['view']>>): readonly string[] =>
  roots.map(({ state }) => state)
const signBy = async (signer: Signer) => {
  const statement = await context().roots.statement()
  const signature = signer.sign(statement)
  return context().roots.sign({ operator: signer.operator, statement, signature })
}
const rootKeys = (): readonly string[] =>
  readdirSync(join(plane.dataDir, 'trust')).filter((name) => /^(ca|root-.*)\.key$/.test(name))
/** With owners and modes: the database server may run as another user. */
function copy(from: string, to: string): void {
  rmSync(join(plane.dataDir, to), { recursive: true, force: true })
  execFileSync('cp', ['-a', join(plane.dataDir, from), join(plane.dataDir, to)])
}

let oldRoot: string
let newRoot: string
let newKeyFile: string
let stolenOldKey: string
let early: Agent

before(async () => {
  const settings = { ...declarationWith().network.settings, svidTtlSeconds: TTL }
  plane = await TestPlane.start(declarationWith({ quorum: 2, settings }), { clock })
  alice = await plane.firstOperator('alice')
  olga = await plane.nextOperator('olga', alice)
  bob = await plane.nextOperator('bob', alice, olga)
  pins = JSON.parse(read('pins.json'))
  oldRoot = pins.roots
  seen = acceptBundle(undefined, context().bundles.current(), pins, { now: clock.now() })
  early = new Agent(oldRoot)
  await early.enrol()
  await plane.control.close()
  copy('pg', 'pg-before')
  copy('trust', 'trust-before')
  await plane.restart()
})
after(() => plane.close())

test('MUST-reject: what a root signs that is prepared and not trusted is refused by everybody, and it is not put in use', async () => {
  assert.deepEqual(states(await context().roots.prepare({ by: 'alice' })), ['active', 'prepared'])
  const { certificate } = await context().roots.statement()
  newRoot = `-----BEGIN CERTIFICATE-----\n${Buffer.from(certificate, 'base64url').toString('base64')}\n-----END CERTIFICATE-----\n`
  newKeyFile = trustFile(rootKeys().find((name) => name !== 'ca.key') ?? '')
  take()
  await early.renew()
  assert.equal(seen.roots, undefined)
  const forged = forge(newKeyFile, newRoot)
  assert.equal(gatewayTakes(forged), 'SP_SVID_UNTRUSTED')
  assert.equal(
    codeOf(() => early.verify(forged)),
    'SP_SVID_UNTRUSTED',
  )
  assert.equal(gatewayTakes(forge(trustFile('ca.key'), oldRoot)), 'accepted')
  await assert.rejects(context().roots.activate({ by: 'alice' }), {
    code: 'SP_CA_ROOT_NOT_TRUSTED',
  })
  await assert.rejects(context().roots.prepare({ by: 'alice' }), { code: 'SP_CA_ROOT_PREPARED' })
  assert.equal(read('ca.pem'), oldRoot)
})

test('MUST-reject: fewer than the quorum, or others than admins, bring no root in', async () => {
  const { roots } = context()
  const statement = await roots.statement()
  const give = (signer: Signer, given = statement, of = given) =>
    roots.sign({ operator: signer.operator, statement: given, signature: signer.sign(of) })
  await assert.rejects(give(bob), { code: 'SP_CA_ROOT_ROLE' })
  await assert.rejects(give(alice, { ...statement, operators: 1 }), {
    code: 'SP_CA_ROOT_STATEMENT',
  })
  await assert.rejects(give(alice, statement, { ...statement, certificate: 'AAAA' }), {
    code: /^SP_SIGNATURE/,
  })
  assert.deepEqual(await give(alice), { live: false, signed: ['alice'], quorum: 2 })
  assert.deepEqual(await give(alice), { live: false, signed: ['alice'], quorum: 2 })
  take()
  await early.renew()
  assert.equal(seen.roots, undefined)
  assert.equal(early.roots, oldRoot)
  const [, waits] = await roots.view()
  assert.deepEqual([waits?.state, waits?.signed, waits?.quorum], ['prepared', ['alice'], 2])
})

test('signed by the quorum it is trusted beside the old one, by everybody before it signs anything', async () => {
  const { live, signed } = await signBy(olga)
  assert.deepEqual([live, signed], [true, ['alice', 'olga']])
  take()
  // A gateway that begins now, and one that was there.
  const first = acceptBundle(undefined, context().bundles.current(), pins, { now: clock.now() })
  assert.deepEqual(first.roots, seen.roots)
  assert.equal(gatewayTakes(forge(newKeyFile, newRoot)), 'accepted')
  assert.equal(gatewayTakes(early.chain), 'accepted')
  assert.equal(certificatesFromPem(read('ca.pem')).length, 2)
  assert.equal(JSON.parse(read('pins.json')).roots, read('ca.pem'))

  // Somebody has a certificate from before, and does not know the new root.
  assert.equal(early.roots, oldRoot)
  await assert.rejects(context().roots.activate({ by: 'alice' }), { code: 'SP_CA_ROOT_UNSEEN' })
  const fresh = new Agent(oldRoot)
  await fresh.enrol()
  assert.equal(certificatesFromPem(fresh.roots).length, 2)
  await assert.rejects(context().roots.activate({ by: 'alice' }), { code: 'SP_CA_ROOT_UNSEEN' })
  // Renewed: the certificate of before is still good, and whoever holds a copy of its key is nobody who must be served.
  await early.renew()
  assert.equal(certificatesFromPem(early.roots).length, 2)
  const [, trusted] = await context().roots.view()
  assert.equal(trusted?.state, 'trusted')
  assert.ok((trusted?.waitsUntil ?? 0) > clock.now())
  ahead += TTL * 500
  await early.renew()
  await fresh.renew()
  await assert.rejects(context().roots.activate({ by: 'alice' }), { code: 'SP_CA_ROOT_UNSEEN' })
  ahead += TTL * 501
})

test('in use it signs for everybody, who verify both; the old one is trusted while anything below it is valid', async () => {
  const before = new Agent(oldRoot)
  await before.enrol()
  await plane.control.close()
  copy('pg', 'pg-trusted')
  await plane.restart()
  assert.deepEqual(states(await context().roots.activate({ by: 'alice' })), ['outgoing', 'active'])
  take()
  const later = new Agent(oldRoot)
  await later.enrol()
  const ends = (chain: string): string => later.verify(chain).root
  const fingerprint = rootFingerprint(certificatesFromPem(newRoot)[0]?.toString('base64url') ?? '')
  assert.equal(ends(later.chain), fingerprint)
  assert.notEqual(ends(before.chain), fingerprint)
  for (const chain of [later.chain, before.chain]) {
    assert.equal(gatewayTakes(chain), 'accepted')
    assert.ok(before.verify(chain))
  }
  await assert.rejects(context().roots.retire({ by: 'alice' }), { code: 'SP_CA_ROOT_IN_USE' })
  await assert.rejects(context().roots.retire({ by: 'alice', fingerprint }), {
    code: 'SP_CA_ROOT_ACTIVE',
  })
  await assert.rejects(context().roots.retire({ by: 'alice', fingerprint: '0'.repeat(64) }), {
    code: 'SP_CA_ROOT_UNKNOWN',
  })
  await before.renew()
  assert.equal(ends(before.chain), fingerprint)
  early = before
  await assert.rejects(context().roots.retire({ by: 'alice' }), { code: 'SP_CA_ROOT_IN_USE' })
  ahead += TTL * 501
  await before.renew()
  ahead += TTL * 501
})

test('a restart goes on below the root in use; the control plane and its federation bundle follow', async () => {
  await plane.restart()
  const agent = new Agent(read('ca.pem'))
  await agent.enrol()
  assert.deepEqual(states(await context().roots.view()), ['outgoing', 'active'])
  assert.equal(context().authority.root, agent.verify(agent.chain).root)
  const answer = await fetch(`${context().consoleUrl}/federation/bundle`)
  const document = await answer.text()
  const { bundle } = readBundleDocument(TRUST_DOMAIN, document)
  assert.equal(bundle.authorities.length, 2)
})

test('MUST-reject: an SVID below a retired root', async () => {
  stolenOldKey = join(plane.dataDir, 'stolen.key')
  writeFileSync(stolenOldKey, read('ca.key'), { mode: 0o600 })
  assert.equal(gatewayTakes(forge(stolenOldKey, oldRoot)), 'accepted')
  ahead += TTL * 1000
  assert.deepEqual(states(await context().roots.retire({ by: 'alice' })), ['retired', 'active'])
  take()
  const forged = forge(stolenOldKey, oldRoot)
  assert.equal(gatewayTakes(forged), 'SP_SVID_UNTRUSTED')
  const agent = new Agent(oldRoot)
  await assert.rejects(agent.renew())
  await agent.enrol()
  assert.equal(
    codeOf(() => agent.verify(forged)),
    'SP_SVID_UNTRUSTED',
  )
  assert.equal(certificatesFromPem(agent.roots).length, 1)
  assert.equal(gatewayTakes(agent.chain), 'accepted')
  assert.equal(certificatesFromPem(read('ca.pem')).length, 1)
  assert.deepEqual(rootKeys(), [newKeyFile.split('/').at(-1)])
})

const narrow = (id: string) =>
  context().mandates.revoke({ id: `mdt_${id.padStart(43, '0')}`, reason: 'test', by: 'test' })
const signsBelow = async (): Promise<string> => {
  const agent = new Agent(read('ca.pem'))
  await agent.enrol()
  return agent.verify(agent.chain).root
}

test('MUST-reject: a restored database brings the retired root back to nobody, and signs nothing below it', async () => {
  const root = context().authority.root
  await plane.control.close()
  copy('pg', 'pg-after')
  // From before there was another; and from when it was trusted and not in use.
  for (const backup of ['pg-before', 'pg-trusted']) {
    copy(backup, 'pg')
    await plane.restart()
    assert.deepEqual(states(await context().roots.view()), ['retired', 'active'], backup)
    assert.equal(context().authority.root, root)
    assert.equal(await signsBelow(), root)
    const { bundle } = context().bundles.current()
    assert.deepEqual(bundle.roots?.retired, seen.roots?.retired)
    // Narrowing works, whatever the rest waits for.
    await narrow('A')
    await plane.control.close()
  }
})

test('MUST-reject: the same where the folder of the trust root is restored as well: gateways refuse it, and their bundle ends it', async () => {
  copy('trust', 'trust-after')
  copy('pg-before', 'pg')
  copy('trust-before', 'trust')
  await plane.restart()
  const { bundles, authority, roots } = context()
  const older = acceptBundle(undefined, bundles.current(), pins, { now: clock.now() })
  assert.equal(older.roots, undefined)
  const later = structuredClone(seen)
  // Made newer than what gateways have seen, as a control plane would that was taken over.
  for (let n = bundles.revision().n; n <= later.revision.n; n++) {
    await narrow(String(n))
  }
  assert.equal(codeOf(take), 'SP_BUNDLE_ROOTS')
  const agent = new Agent(oldRoot)
  await agent.enrol()
  assert.equal(gatewayTakes(agent.chain), 'SP_SVID_UNTRUSTED')
  assert.equal(agent.verify(agent.chain).root, authority.root)
  assert.deepEqual(states(await roots.view()), ['active'])
  await plane.control.close()
  // With the right folder all is well again: the key of the root in use is where it was.
  copy('pg-after', 'pg')
  copy('trust-after', 'trust')
  await plane.restart()
  assert.equal(await signsBelow(), context().authority.root)
  take()
})

test('the next one: prepared and taken back leaves nothing; signed and never used it is retired', async () => {
  const { roots } = context()
  const keys = rootKeys()
  await roots.prepare({ by: 'alice' })
  assert.equal(rootKeys().length, keys.length + 1)
  assert.deepEqual(states(await roots.cancel()), ['retired', 'active'])
  assert.deepEqual(rootKeys(), keys)
  await assert.rejects(roots.cancel(), { code: 'SP_CA_ROOT_NOT_PREPARED' })
  await assert.rejects(roots.statement(), { code: 'SP_CA_ROOT_NOT_PREPARED' })

  await roots.prepare({ by: 'alice' })
  await signBy(alice)
  await signBy(olga)
  await assert.rejects(roots.cancel(), { code: 'SP_CA_ROOT_NOT_PREPARED' })
  const unused = (await roots.view()).find(({ state }) => state === 'trusted')
  await assert.rejects(roots.retire({ by: 'alice' }), { code: 'SP_CA_ROOT_UNKNOWN' })
  assert.deepEqual(states(await roots.retire({ by: 'alice', fingerprint: unused?.fingerprint })), [
    'retired',
    'active',
    'retired',
  ])
  take()
  assert.deepEqual(rootKeys(), keys)
  assert.equal(existsSync(trustFile('root.preparing')), false)
})
