import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { mandateId, signAgentMandate } from '../../src/index.ts'
import type {
  AgentMandate,
  MandateRules,
  MandateStatement,
  OperatorMandate,
  OperatorSet,
} from '../../src/index.ts'
import { operatorSet, TestPasskey } from './passkey.ts'

export const NOW = 1_800_000_000_000
export const instance = (agent: string, n = '1'): string => `spiffe://bank.test/agent/${agent}/${n}`
export const anyOf = (agent: string): string => `spiffe://bank.test/agent/${agent}`

export const olga: TestPasskey = new TestPasskey('olga')
export const operators: OperatorSet = operatorSet(1, 1, olga.key(['approver']))

const keys = new Map<string, KeyObject>()
/** Stands in for an SVID: what verifies it belongs to `spiffe`, and is tested with it at the gateway. */
export function keyOf(spiffeId: string): KeyObject {
  let key = keys.get(spiffeId)
  if (!key) {
    key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    keys.set(spiffeId, key)
  }
  return key
}

export const rules: MandateRules = {
  trustDomain: 'bank.test',
  now: NOW,
  operators,
  verifySvid([leaf]) {
    const id = leaf?.toString() ?? ''
    const publicKey = keyOf(id)
    return { instance: id, serial: `0${id.length}`, notAfter: NOW + 900_000, publicKey }
  },
  isRevoked: () => false,
  isSerialRevoked: () => false,
  isCut: () => false,
}

export function statement(over: Partial<MandateStatement> = {}): MandateStatement {
  return {
    kind: 'mandate',
    nonce: 'nonce-nonce-nonce',
    delegator: 'operator:olga',
    delegate: anyOf('lead'),
    task: 'close case 7',
    grants: [
      {
        system: 'core',
        operations: ['hold', 'list'],
        arguments: { reason: { oneOf: ['ring', 'mule'] }, 'case.id': { prefix: 'case-' } },
        amount: {
          input: 'amount',
          currencyInput: 'currency',
          currency: 'EUR',
          perUse: 1000,
          total: 5000,
        },
        counterparties: { input: 'account', values: ['a1', 'a2'] },
      },
    ],
    issuedAt: NOW - 1000,
    notBefore: NOW - 1000,
    expiresAt: NOW + 60_000,
    uses: 10,
    ...over,
  }
}

export const byOperator = (
  over: Partial<MandateStatement> = {},
  by: TestPasskey = olga,
): OperatorMandate => {
  const signed = statement(over)
  return { statement: signed, passkey: by.sign(signed) }
}

/** A sub-mandate of `parent`, like it but for `over`, signed by its delegator. */
export function below(
  parent: MandateStatement,
  delegator: string,
  over: Partial<MandateStatement> = {},
  key: KeyObject = keyOf(delegator),
): AgentMandate {
  const own = {
    ...parent,
    parent: mandateId(parent),
    delegator,
    delegate: anyOf('helper'),
    ...over,
  }
  return signAgentMandate(own, key, [Buffer.from(delegator)])
}
