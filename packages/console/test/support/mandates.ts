import { createHash, randomBytes } from 'node:crypto'
import type { MandateDraft, MandateStatement, MandateView } from '../../src/api/mandate-types.ts'
import { canonical } from './passkeys.ts'
import type { Ask, Result, Signing } from './world.ts'

const HOUR = 3_600_000

/** What the fixture holds of mandates: they are drawn up, given with a passkey, and end in cascade. */
export class MandateWorld {
  held: MandateView[] = []
  /** Put into every mandate that is drawn up: a control plane that lies. */
  tamper: Partial<MandateStatement> = {}
  /** Every call fails so, where it is set: a control plane that has lost its database. */
  failing = false
  readonly #trustDomain: string

  constructor(trustDomain: string) {
    this.#trustDomain = trustDomain
    const agent = (name: string): string => `spiffe://${trustDomain}/agent/${name}`
    const root = this.hold({
      delegator: 'operator:olivia',
      delegate: agent('account-flagger'),
      task: 'hold what case 4711 names, 25,000 EUR at most',
      uses: 20,
      grants: [
        {
          system: 'core-banking',
          operations: ['placeHold'],
          arguments: { accountId: { oneOf: ['ACC-2207-118', 'ACC-9041-552'] } },
          amount: {
            input: 'amount',
            currencyInput: 'currency',
            currency: 'EUR',
            perUse: 2_500_000,
          },
        },
        { system: 'case-store', operations: ['getCase'] },
      ],
    })
    const part = this.hold(
      {
        delegator: `${agent('account-flagger')}/acc-1`,
        delegate: `${agent('case-manager')}/cas-1`,
        task: 'read case 4711',
        uses: 5,
        grants: [{ system: 'case-store', operations: ['getCase'] }],
      },
      root,
    )
    this.hold(
      {
        delegator: `${agent('case-manager')}/cas-1`,
        delegate: agent('sar-drafter'),
        task: 'read case 4711 for the report',
        uses: 2,
        grants: [{ system: 'case-store', operations: ['getCase'] }],
      },
      part,
    )
    const over = this.hold({
      delegator: 'operator:olivia',
      delegate: agent('notifier'),
      task: 'tell the customers of branch 12',
      uses: 3,
      grants: [{ system: 'message-gateway', operations: ['send'] }],
    })
    this.#change(over.id, {
      status: 'revoked',
      revoked: { id: over.id, reason: 'wrong branch', by: 'olivia', at: Date.now() - HOUR / 2 },
    })
  }

  hold(said: Partial<MandateStatement>, parent?: MandateView): MandateView {
    const now = Date.now()
    const statement: MandateStatement = {
      ...{ kind: 'mandate', nonce: randomBytes(18).toString('base64url') },
      ...(parent && { parent: parent.id }),
      ...{ delegator: 'operator:olivia', delegate: `spiffe://${this.#trustDomain}/agent/notifier` },
      ...{ task: 'a task', grants: [], uses: 1 },
      ...{ issuedAt: now - HOUR, notBefore: now - HOUR, expiresAt: now + 2 * HOUR },
      ...said,
    }
    const id = idOf(statement)
    const view: MandateView = {
      ...{ id, status: 'active', statement, used: parent ? 1 : statement.uses > 3 ? 3 : 0 },
      chain: [...(parent?.chain ?? []), id],
    }
    this.held.unshift(view)
    return view
  }

  answer(ask: Ask, [, id = '', act]: readonly string[], signing: Signing): Result | undefined {
    if (this.failing) {
      const detail = 'the database does not answer'
      return { status: 503, body: { code: 'SP_STORE_UNAVAILABLE', detail } }
    }
    if (ask.body === undefined) {
      if (id === '') return { status: 200, body: this.held }
      const found = this.held.find((one) => one.id === id)
      return found && { status: 200, body: found }
    }
    if (id === 'options') {
      // The page posts a draft; it is compared with what is drawn up by the page itself.
      const statement = { ...this.#draw(ask.operator, ask.body as MandateDraft), ...this.tamper }
      return { status: 200, body: { statement, options: signing.options(statement) } }
    }
    if (id === '') {
      // Signed or not is decided on the next line.
      const statement = Reflect.get(Object(ask.body), 'statement') as MandateStatement
      if (signing.signer(Reflect.get(Object(ask.body), 'response'), statement) !== ask.operator) {
        const detail = 'the signature does not cover this statement'
        return { status: 403, body: { code: 'SP_SIGNATURE_INVALID', detail } }
      }
      const given = { id: idOf(statement), status: 'active', statement, used: 0 } as const
      const view = { ...given, chain: [given.id] }
      this.held.unshift(view)
      return { status: 200, body: view }
    }
    if (act !== 'revoke') return undefined
    const revoked = {
      ...{ id, reason: String(Reflect.get(Object(ask.body), 'reason')), by: ask.operator },
      at: Date.now(),
    }
    for (const one of this.held) {
      if (one.chain.includes(id)) this.#change(one.id, { status: 'revoked', revoked })
    }
    return { status: 200, body: { id, revision: { epoch: 1, n: 43 }, appliedMs: 22.4 } }
  }

  #draw(operator: string, draft: MandateDraft): MandateStatement {
    const { delegate, task, grants, uses, lifetimeSeconds } = draft
    const now = Date.now()
    return {
      ...{ kind: 'mandate', nonce: randomBytes(18).toString('base64url') },
      ...{ delegator: `operator:${operator}`, delegate, task, grants, uses },
      ...{ issuedAt: now, notBefore: now, expiresAt: now + lifetimeSeconds * 1000 },
    }
  }

  #change(id: string, change: Partial<MandateView>): void {
    this.held = this.held.map((one) => (one.id === id ? { ...one, ...change } : one))
  }
}

const idOf = (statement: MandateStatement): string =>
  `mdt_${createHash('sha256').update(canonical(statement)).digest('base64url')}`
