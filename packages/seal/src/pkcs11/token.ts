import { SallyportError } from '@sallyport/base'
import { CKF, CKR, CKU_USER } from './constants.ts'
import { leaveModule, ReturnError, useModule } from './module.ts'
import type { Pkcs11Module } from './module.ts'
import { isPinProblem, pinRefused } from './pin-refused.ts'

export interface TokenOptions {
  /** Absolute path of the module, e.g. `/usr/lib/softhsm/libsofthsm2.so`. */
  readonly module: string
  /** Label of the token. */
  readonly token: string
  /** Read each time that a login is needed: from a file or the environment, never from a command line. */
  readonly pin: () => string
}

/** What means that the session, the login or the token is gone, and that a new session may help. */
const LOST: ReadonlySet<number> = new Set([
  CKR.deviceError,
  CKR.deviceRemoved,
  CKR.keyHandleInvalid,
  CKR.objectHandleInvalid,
  CKR.operationActive,
  CKR.sessionClosed,
  CKR.sessionHandleInvalid,
  CKR.tokenNotPresent,
  CKR.userNotLoggedIn,
  CKR.cryptokiNotInitialized,
])

/** CK_TOKEN_INFO: the label, and the flags behind manufacturer, model and serial number. */
const TOKEN_INFO_BYTES = 208
const LABEL_BYTES = 32
const FLAGS_AT = 96
const MAX_SLOTS = 1024
const MAX_MECHANISMS = 4096

/** A token of a PKCS#11 module with one logged-in session, opened again where it is lost. */
export class Token {
  readonly module: Pkcs11Module
  readonly label: string
  /** Counts sessions: handles of objects belong to one. */
  generation = 0
  readonly #pin: () => string
  #session: bigint | undefined
  #slot = 0n
  /** A PIN that was refused is not tried again: each try counts towards locking the token. */
  #refused: SallyportError | undefined

  private constructor(module: Pkcs11Module, { token, pin }: TokenOptions) {
    this.module = module
    this.label = token
    this.#pin = pin
  }

  /** @throws SallyportError `SP_HSM_MODULE`, `SP_HSM_TOKEN`, `SP_HSM_PIN`, `SP_HSM_FAILED` */
  static async open(options: TokenOptions): Promise<Token> {
    const module = await useModule(options.module)
    const token = new Token(module, options)
    try {
      token.run(() => undefined)
      return token
    } catch (error) {
      leaveModule(module)
      throw error
    }
  }

  /**
   * Runs an act in the session, and once more in a new one where it was lost: so the act must be one that may run twice.
   *
   * @throws SallyportError `SP_HSM_*`
   */
  run<T>(act: (session: bigint) => T): T {
    try {
      return act(this.#connected())
    } catch (error) {
      if (!(error instanceof ReturnError) || !LOST.has(error.returned)) throw coded(error)
      this.#disconnect()
      return this.once(act)
    }
  }

  /** As `run`, for an act that must not run twice, such as making a key. */
  once<T>(act: (session: bigint) => T): T {
    try {
      return act(this.#connected())
    } catch (error) {
      throw coded(error)
    }
  }

  /** @throws SallyportError `SP_HSM_MECHANISM` */
  demand(mechanism: number, name: string): void {
    const found = this.run(() =>
      list(this.module, 'C_GetMechanismList', [this.#slot], MAX_MECHANISMS),
    )
    if (found.includes(BigInt(mechanism))) return
    throw new SallyportError('SP_HSM_MECHANISM', `the token has no ${name}`, {
      detail: `token \`${this.label}\` of ${this.module.path}`,
      fix: 'use a token that has it; for keys in software under the barrier, `init --keys sealed`',
    })
  }

  close(): void {
    this.#disconnect()
    leaveModule(this.module)
  }

  #connected(): bigint {
    if (this.#session !== undefined) return this.#session
    if (this.#refused) throw this.#refused
    const { module } = this
    const slot = this.#find()
    const handle = Buffer.alloc(8)
    const flags = CKF.serialSession | CKF.rwSession
    module.must('C_OpenSession', slot, flags, null, null, handle)
    const session = handle.readBigUInt64LE()
    try {
      this.#login(session, slot)
    } catch (error) {
      module.call('C_CloseSession', session)
      throw error
    }
    this.#slot = slot
    this.#session = session
    this.generation++
    return session
  }

  #disconnect(): void {
    if (this.#session !== undefined) this.module.call('C_CloseSession', this.#session)
    this.#session = undefined
  }

  /** Slots are renumbered when tokens come and go: the label is what stays. */
  #find(): bigint {
    const { module, label } = this
    const named = list(module, 'C_GetSlotList', [1], MAX_SLOTS).filter((slot) => {
      const info = tokenInfo(module, slot)
      return info?.subarray(0, LABEL_BYTES).toString('utf8').trimEnd() === label
    })
    const [slot] = named
    if (slot !== undefined && named.length === 1) return slot
    throw new SallyportError(
      'SP_HSM_TOKEN',
      slot === undefined
        ? `there is no token \`${label}\``
        : `there are ${named.length} tokens \`${label}\``,
      {
        detail: module.path,
        fix: 'plug the token in, or name another one; give tokens different labels',
      },
    )
  }

  #login(session: bigint, slot: bigint): void {
    const { module } = this
    const before = flagsOf(module, slot)
    // One more wrong try would lock the token: a person has to look first.
    if (before & (CKF.userPinFinalTry | CKF.userPinLocked)) throw this.#refuse(before, undefined)
    const pin = Buffer.from(this.#pin())
    if (pin.byteLength === 0) throw this.#refuse(before, CKR.pinLenRange)
    let value: number
    try {
      value = module.call('C_Login', session, CKU_USER, pin, pin.byteLength)
    } finally {
      pin.fill(0)
    }
    if (value === CKR.ok || value === CKR.userAlreadyLoggedIn) return
    if (isPinProblem(value)) throw this.#refuse(flagsOf(module, slot), value)
    throw new ReturnError('C_Login', value)
  }

  #refuse(flags: number, value: number | undefined): SallyportError {
    this.#refused = pinRefused(this.label, flags, value)
    return this.#refused
  }
}

/** CK_ULONGs of a list, in the two calls that PKCS#11 asks for. */
function list(
  module: Pkcs11Module,
  name: 'C_GetSlotList' | 'C_GetMechanismList',
  first: readonly (number | bigint)[],
  most: number,
): bigint[] {
  const count = Buffer.alloc(8)
  module.must(name, ...first, null, count)
  // Some more than was said: what comes meanwhile is not an error.
  const room = Math.min(Number(count.readBigUInt64LE()) + 16, most)
  const items = Buffer.alloc(room * 8)
  count.writeBigUInt64LE(BigInt(room))
  module.must(name, ...first, items, count)
  const found = Math.min(Number(count.readBigUInt64LE()), room)
  return Array.from({ length: found }, (_, i) => items.readBigUInt64LE(i * 8))
}

function tokenInfo(module: Pkcs11Module, slot: bigint): Buffer | undefined {
  const info = Buffer.alloc(TOKEN_INFO_BYTES)
  return module.call('C_GetTokenInfo', slot, info) === CKR.ok ? info : undefined
}

function flagsOf(module: Pkcs11Module, slot: bigint): number {
  return Number(tokenInfo(module, slot)?.readBigUInt64LE(FLAGS_AT) ?? 0n)
}

function coded(error: unknown): unknown {
  if (!(error instanceof ReturnError)) return error
  const gone = error.returned === CKR.tokenNotPresent || error.returned === CKR.deviceRemoved
  return new SallyportError(
    gone ? 'SP_HSM_TOKEN' : 'SP_HSM_FAILED',
    gone ? 'the token is gone' : 'the key store refused or failed',
    {
      detail: error.message,
      fix: 'check that the token is plugged in and not write-protected; see the log of the key store',
      cause: error,
    },
  )
}
