import { canonicalJson, parseJson, sha256Hex, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Barrier } from '@sallyport/seal'
import { areDistinct, signOperatorSet } from '@sallyport/wire'
import type { OperatorKey, OperatorLink, OperatorSet, PasskeySignature } from '@sallyport/wire'
import type { Store, Tx } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import type { Events } from './events.ts'
import type { Operators, OperatorsStatement } from './operators.ts'
import { loadOperatorLinks } from './operator-links.ts'
import type { Change, Publisher } from './publisher.ts'
import { createVouching, secretHash } from './secrets.ts'
import type { Vouching } from './secrets.ts'
import { createCodes } from './codes.ts'
import { checkSignature, signersOf } from './signers.ts'

const LINK_MS = 24 * 3_600_000
const ROLES = ['admin']
const BASE64URL = /^[A-Za-z0-9_-]{1,4096}$/

export interface OperatorDeps {
  readonly store: Store
  readonly clock: Clock
  readonly publisher: Publisher
  readonly trust: Trust
  readonly events: Events
  readonly barrier: Barrier
  readonly consoleUrl: () => string
}

/** @see Operators */
export function createOperators(deps: OperatorDeps): Operators {
  const { store, clock, publisher, trust } = deps
  const secrets = createVouching(trust)
  const declared = () => publisher.index().network.operators
  const current = () => publisher.current().bundle.operators?.set
  const find = (name: string) => {
    const operator = declared().find((o) => o.name === name)
    if (operator) return operator
    throw new SallyportError('SP_OPERATOR_UNKNOWN', `no operator \`${name}\` is declared`, {
      fix: 'declare the operator in network.yaml first',
    })
  }
  const credentialsOf = (name: string): string[] => credentialsIn(current(), name)

  return {
    ...createCodes({ store, clock, find, barrier: deps.barrier }),
    set: current,
    rpId: () => trust.relyingParty.rpId,
    origin: () => trust.relyingParty.origin,
    list: () =>
      declared().map(({ name, displayName, roles }) => ({
        name,
        displayName,
        roles,
        credentialIds: credentialsOf(name),
      })),
    async createLink({ operator, by }) {
      find(operator)
      const expiresAt = clock.now() + LINK_MS
      const link = secrets.issue('link', { operator, expiresAt })
      await store.transaction(async (tx) => {
        await tx
          .deleteFrom('operator_links')
          .where('operator', '=', operator)
          .where('used_at', 'is', null)
          .execute()
        await tx
          .insertInto('operator_links')
          .values({
            hash: secretHash('link', link),
            operator,
            created_by: by,
            expires_at: expiresAt,
            used_at: null,
          })
          .execute()
      })
      return { link, url: `${deps.consoleUrl()}/enrol#${link}`, expiresAt }
    },
    async openLink(link) {
      const row = await store.run((db) =>
        db
          .selectFrom('operator_links')
          .select(['operator', 'expires_at'])
          .where('hash', '=', secretHash('link', link))
          .where('used_at', 'is', null)
          .where('expires_at', '>', clock.now())
          .executeTakeFirst(),
      )
      const facts = row && { operator: row.operator, expiresAt: row.expires_at }
      if (!facts || !secrets.vouches('link', link, facts)) throw invalidLink()
      const { name, displayName, roles } = find(row.operator)
      return {
        operator: name,
        displayName,
        roles,
        first: current() === undefined,
        expiresAt: row.expires_at,
        credentialIds: credentialsOf(name),
      }
    },
    async register(input) {
      if (!BASE64URL.test(input.credentialId) || !BASE64URL.test(input.publicKey)) {
        throw new SallyportError('SP_OPERATOR_KEY', 'the passkey is not valid')
      }
      const { result } = await publisher.publish((tx) =>
        register(tx, { ...deps, secrets }, find, input),
      )
      if (result.active) trust.forgetGenesisKey()
      deps.events.publish('agent', { operators: result.version })
      return result
    },
    proposed: () =>
      store.run(async (db) => {
        const pending = await readProposal(db as Tx)
        const set = current()
        if (!pending || !set) return undefined
        const signatures = await signaturesOf(db as Tx, pending.set)
        return {
          statement: pending,
          signed: signersOf(pending, signatures, set, ROLES),
          quorum: quorumOf(set),
        }
      }),
    async proposeRemoval({ operator, by }) {
      const set = current()
      if (!set?.keys.some((key) => key.operator === operator)) {
        throw new SallyportError('SP_OPERATOR_UNKNOWN', `\`${operator}\` has no passkey`)
      }
      const keys = set.keys.filter((key) => key.operator !== operator)
      await store.transaction((tx) =>
        propose(tx, { ...set, version: set.version + 1, keys }, by, clock),
      )
    },
    async signProposed(input) {
      const { result } = await publisher.publish((tx) => signProposed(tx, deps, input))
      deps.events.publish('agent', { operatorsSigned: result.signed.length })
      return result
    },
  }
}

/** The passkeys of an operator in a set. */
export function credentialsIn(set: OperatorSet | undefined, operator: string): string[] {
  return (set?.keys ?? []).filter((k) => k.operator === operator).map((k) => k.credentialId)
}

type Find = (name: string) => { readonly name: string; readonly roles: readonly string[] }

async function register(
  tx: Tx,
  deps: OperatorDeps & { readonly secrets: Vouching },
  find: Find,
  input: Parameters<Operators['register']>[0],
): Promise<Change<{ active: boolean; version: number }>> {
  const now = deps.clock.now()
  const used = await tx
    .updateTable('operator_links')
    .set({ used_at: now })
    .where('hash', '=', secretHash('link', input.link))
    .where('used_at', 'is', null)
    .where('expires_at', '>', now)
    .returning(['operator', 'expires_at'])
    .executeTakeFirst()
  const facts = used && { operator: used.operator, expiresAt: used.expires_at }
  if (!facts || !deps.secrets.vouches('link', input.link, facts)) throw invalidLink()
  const { name, roles } = find(facts.operator)
  const key: OperatorKey = {
    operator: name,
    credentialId: input.credentialId,
    publicKey: input.publicKey,
    roles,
  }
  const { network } = deps.publisher.index()
  const current = (await loadOperatorLinks(tx)).at(-1)?.set
  if (current) {
    const pending = await readProposal(tx)
    // Two people who enrol at the same time are proposed together.
    const keys = [...(pending?.set.keys ?? current.keys), key]
    if (!areDistinct(keys)) {
      throw new SallyportError('SP_OPERATOR_KEY', 'this passkey is enrolled already')
    }
    const version = current.version + 1
    await propose(tx, { ...current, quorum: network.quorum, version, keys }, name, deps.clock)
    return { result: { active: false, version }, changed: false }
  }
  const genesisKey = deps.trust.genesisKey()
  if (!genesisKey || !roles.includes('admin')) {
    throw new SallyportError(
      'SP_OPERATOR_KEY',
      genesisKey ? 'the first operator has to be an admin' : 'the genesis key is gone',
    )
  }
  const set: OperatorSet = {
    version: 1,
    rpId: deps.trust.relyingParty.rpId,
    origin: deps.trust.relyingParty.origin,
    quorum: network.quorum,
    keys: [key],
  }
  await insertSet(
    tx,
    { set, genesisSignature: signOperatorSet(set, genesisKey), signatures: [] },
    now,
  )
  return { result: { active: true, version: 1 }, changed: true }
}

async function signProposed(
  tx: Tx,
  deps: OperatorDeps,
  input: Parameters<Operators['signProposed']>[0],
): Promise<Change<{ active: boolean; signed: readonly string[]; quorum: number }>> {
  const expected = await readProposal(tx)
  const current = (await loadOperatorLinks(tx)).at(-1)?.set
  if (!expected) {
    throw new SallyportError('SP_OPERATOR_STATEMENT', 'no operator set waits for signatures')
  }
  const set = checkSignature({
    set: current,
    operator: input.operator,
    expected,
    given: input.statement,
    signature: input.signature,
    roles: ROLES,
    codes: { statement: 'SP_OPERATOR_STATEMENT', role: 'SP_OPERATOR_ROLE' },
  })
  await tx
    .insertInto('operator_proposal_signatures')
    .values({
      set_digest: digestOf(expected.set),
      operator: input.operator,
      signature: JSON.stringify(input.signature),
    })
    // By the passkey that they have now: an earlier one may have left the set.
    .onConflict((conflict) =>
      conflict
        .columns(['set_digest', 'operator'])
        .doUpdateSet({ signature: JSON.stringify(input.signature) }),
    )
    .execute()
  const signatures = await signaturesOf(tx, expected.set)
  const signed = signersOf(expected, signatures, set, ROLES)
  const quorum = quorumOf(set)
  const active = signed.length >= quorum
  if (active) {
    await insertSet(tx, { set: expected.set, signatures }, deps.clock.now())
    await tx.deleteFrom('operator_proposal').execute()
    await tx.deleteFrom('operator_proposal_signatures').execute()
  }
  return { result: { active, signed, quorum }, changed: active }
}

/** As gateways count it: all admins, where the set has fewer than its quorum. */
function quorumOf(set: OperatorSet): number {
  const admins = new Set(set.keys.filter((k) => k.roles.includes('admin')).map((k) => k.operator))
  return Math.max(1, Math.min(set.quorum, admins.size))
}

async function propose(tx: Tx, set: OperatorSet, by: string, clock: Clock): Promise<void> {
  const values = { operator_set: canonicalJson(set), proposed_by: by, at: clock.now() }
  await tx
    .insertInto('operator_proposal')
    .values({ sole: true, ...values })
    .onConflict((conflict) => conflict.column('sole').doUpdateSet(values))
    .execute()
}

async function readProposal(tx: Tx): Promise<OperatorsStatement | undefined> {
  const row = await tx.selectFrom('operator_proposal').select('operator_set').executeTakeFirst()
  // Canonical text that `propose` wrote.
  return row && { kind: 'operators', set: parseJson(row.operator_set) as unknown as OperatorSet }
}

async function signaturesOf(tx: Tx, set: OperatorSet): Promise<PasskeySignature[]> {
  const rows = await tx
    .selectFrom('operator_proposal_signatures')
    .select('signature')
    .where('set_digest', '=', digestOf(set))
    .execute()
  // Only signatures that verified were written.
  return rows.map(({ signature }) => signature as PasskeySignature)
}

const digestOf = (set: OperatorSet): string => sha256Hex(canonicalJson(set))

async function insertSet(tx: Tx, link: OperatorLink, at: number): Promise<void> {
  await tx
    .insertInto('operator_sets')
    .values({ version: link.set.version, link: canonicalJson(link), at })
    .execute()
}

function invalidLink(): SallyportError {
  return new SallyportError('SP_LINK_INVALID', 'the link is not valid, was used, or has expired', {
    fix: 'ask an admin for a new one; before the first operator enrolled, restart the control plane',
  })
}
