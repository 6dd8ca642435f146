import { createSecretKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorCode, parseJson, sha256Hex, SallyportError } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import { createDecider, readInput } from '@sallyport/decide'
import type { Call, CallMandate, CallPayment, Decider, SessionState } from '@sallyport/decide'
import type { Declaration } from '@sallyport/network'
import { readKeyring } from '@sallyport/seal'
import type { KeyringReader } from '@sallyport/seal'
import type { DecisionRecord, MandateFacts, SealedValue } from '@sallyport/wire'
import type { NotReplayed } from './types.ts'

/** A call as it was put to the policies. */
export interface RecordedCall {
  readonly decider: Decider
  readonly call: Call
  readonly session: SessionState
}

const MAX_DECLARATION = 64 * 1024 * 1024

/** What a gateway kept beside its log: the declarations that decided, and the keys of the inputs. */
export class Recorded {
  readonly #keyring: KeyringReader
  readonly #deciders: ReadonlyMap<string, Decider>

  private constructor(keyring: KeyringReader, deciders: ReadonlyMap<string, Decider>) {
    this.#keyring = keyring
    this.#deciders = deciders
  }

  /**
   * @param gatewayDir a gateway's data directory
   * @param digests of the declarations that the records name
   * @throws SallyportError `SP_POLICY_NO_KEY`, `SP_SEAL_*`
   */
  static async open(gatewayDir: string, digests: Iterable<string>): Promise<Recorded> {
    const deciders = new Map<string, Decider>()
    for (const digest of digests) {
      const declaration = keptDeclaration(gatewayDir, digest)
      if (declaration) deciders.set(digest, await createDecider({ declaration }))
    }
    const kek = wrappingKey(join(gatewayDir, 'seal.key'))
    return new Recorded(await readKeyring({ dir: join(gatewayDir, 'keyring'), kek }), deciders)
  }

  /** @param approvers of the `approval-used` record, for records that do not name them themselves */
  read(record: DecisionRecord, approvers: readonly string[]): RecordedCall | NotReplayed {
    if (record.operation === '?') return 'no-operation'
    const decider = this.#deciders.get(record.declarationDigest)
    const operation = decider?.index.findOperation(record.system, record.operation)
    if (!decider || !operation) return 'declaration-missing'
    const input = this.#input(record)
    if (typeof input === 'string') return input
    if ('truncated' in input) {
      try {
        readInput(operation.input, input)
      } catch {
        return 'input-truncated'
      }
    }
    const payment = this.#payment(record)
    if (typeof payment === 'string') return payment
    const { instance, agent, system, labels, risk, peer, onBehalfOf } = record
    const call: Call = {
      instance,
      agent,
      system,
      operation: record.operation,
      input,
      time: record.decidedAt ?? record.at,
      ...(peer.source === undefined ? {} : { source: peer.source }),
      evidence: { approvals: record.approvers ?? approvers },
      ...(onBehalfOf === undefined ? {} : { onBehalfOf }),
      ...(payment === undefined ? {} : { payment }),
      ...(record.mandate === undefined ? {} : { mandate: mandateOf(record.mandate) }),
    }
    return { decider, call, session: { labels, risk } }
  }

  close(): Promise<void> {
    return this.#keyring.close()
  }

  #input({ id, input }: DecisionRecord): Readonly<Record<string, CedarJson>> | NotReplayed {
    return input === undefined ? 'input-unreadable' : this.#open(input, `${id}/input`)
  }

  /** What the caller's token said of the payment; undefined where it said nothing. */
  #payment({ id, payment }: DecisionRecord): CallPayment | NotReplayed | undefined {
    if (payment === undefined) return undefined
    const value = this.#open(payment, `${id}/payment`)
    if (typeof value === 'string') return value
    const { amount, currency, creditor, by } = value
    const fits =
      typeof amount === 'number' &&
      typeof currency === 'string' &&
      typeof creditor === 'string' &&
      typeof by === 'string'
    return fits ? { amount, currency, creditor, by } : 'input-unreadable'
  }

  #open(sealed: SealedValue, context: string): Readonly<Record<string, CedarJson>> | NotReplayed {
    try {
      const value = parseJson(this.#keyring.openNow(sealed, context))
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        return 'input-unreadable'
      }
      // Sealed by the gateway from a typed input, which holds no null; the decision fails closed on anything else.
      return value as Readonly<Record<string, CedarJson>>
    } catch (error) {
      return errorCode(error) === 'SP_SEAL_ERASED' ? 'erased' : 'input-unreadable'
    }
  }
}

/** As policies read it: the chain is of the record alone, and not part of the state's digest. */
function mandateOf({ id, delegator, depth, task }: MandateFacts): CallMandate {
  return { id, delegator, depth, task }
}

/** The declaration that the gateway kept under a digest; undefined where it is not there, or is another one. */
function keptDeclaration(gatewayDir: string, digest: string): Declaration | undefined {
  let text: string
  try {
    text = readFileSync(join(gatewayDir, 'declarations', `${digest}.json`), 'utf8')
  } catch {
    return undefined
  }
  if (sha256Hex(text) !== digest) return undefined
  // Its digest is that of the declaration that the gateway accepted and decided by.
  return parseJson(text, { maxBytes: MAX_DECLARATION }) as unknown as Declaration
}

function wrappingKey(path: string): ReturnType<typeof createSecretKey> {
  try {
    const bytes = Buffer.from(readFileSync(path, 'utf8').trim(), 'base64url')
    if (bytes.length === 32) return createSecretKey(bytes)
  } catch (cause) {
    throw noKey(path, cause)
  }
  throw noKey(path, undefined)
}

const noKey = (path: string, cause: unknown): SallyportError =>
  new SallyportError('SP_POLICY_NO_KEY', 'the key of the recorded inputs cannot be read', {
    detail: path,
    fix: 'run the replay on the machine of the gateway, as its user, or on a copy of its data directory',
    cause,
  })
