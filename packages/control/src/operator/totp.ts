import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { Secret, TOTP } from 'otpauth'
import type { ControlContext } from '../domain/context.ts'
import type { Operators } from '../domain/operators.ts'
import type { Recoveries } from '../domain/recoveries.ts'

const PERIOD_SECONDS = 30
const MAX_FAILURES = 5
const FAILURE_WINDOW_MS = 5 * 60_000
/** Compared against where an operator has no secret, so that the answer takes as long. */
const NOBODY = new Secret({ size: 20 })

/**
 * Time-based one-time codes (RFC 6238, SHA-1, 6 digits, 30 s, one step of drift): a way back in where a second
 * operator has confirmed it, never for signing. Each code works once, however it is spaced; five wrong ones close the way for five minutes.
 */
export class TotpDoor {
  readonly #operators: Operators
  readonly #recoveries: Recoveries
  readonly #clock: Clock
  readonly #failures = new Map<string, number[]>()

  constructor({ operators, recoveries, clock }: ControlContext) {
    this.#operators = operators
    this.#recoveries = recoveries
    this.#clock = clock
  }

  /** @throws SallyportError `SP_API_LOGIN`, `SP_API_RATE` */
  async verify(operator: string, code: string): Promise<void> {
    // Only declared names are counted, so that strangers cannot fill the memory.
    const declared = this.#operators.list().some(({ name }) => name === operator)
    if (declared) this.#spendAttempt(operator)
    const base32 = declared ? await this.#operators.totpSecret(operator) : undefined
    const step = this.#stepOf(base32 === undefined ? NOBODY : Secret.fromBase32(base32), code)
    if (base32 === undefined || step === undefined) throw refused()
    if ((await this.#recoveries.use(operator, step)) === undefined) throw refused()
    this.#failures.delete(operator)
  }

  /**
   * Takes a new secret once a code shows that the authenticator app has it. That code is spent by it.
   *
   * @throws SallyportError `SP_API_LOGIN`, `SP_API_RATE`
   */
  async enable(operator: string, base32: string, code: string): Promise<void> {
    this.#spendAttempt(operator)
    const step = this.#stepOf(Secret.fromBase32(base32), code)
    if (step === undefined) throw refused()
    await this.#operators.setTotpSecret(operator, base32, step)
    this.#failures.delete(operator)
  }

  #stepOf(secret: Secret, code: string): number | undefined {
    const digits = code.replace(/\s/g, '')
    if (!/^\d{6}$/.test(digits)) return undefined
    const timestamp = this.#clock.now()
    const settings = { algorithm: 'SHA1', digits: 6, period: PERIOD_SECONDS }
    const delta = TOTP.validate({ ...settings, token: digits, secret, timestamp, window: 1 })
    return delta === null ? undefined : Math.floor(timestamp / 1000 / PERIOD_SECONDS) + delta
  }

  /** Counted before the check, so that parallel guesses are counted too. */
  #spendAttempt(operator: string): void {
    const now = this.#clock.monotonic()
    const recent = (this.#failures.get(operator) ?? []).filter((at) => now - at < FAILURE_WINDOW_MS)
    if (recent.length >= MAX_FAILURES) {
      throw new SallyportError('SP_API_RATE', 'too many wrong codes; wait five minutes', {
        fix: 'Sign in with your passkey instead.',
      })
    }
    this.#failures.set(operator, [...recent, now])
  }
}

/** A fresh secret (160 bits) and the `otpauth://` address of it for an authenticator app. */
export function newTotp(operator: string, issuer: string): { secret: string; uri: string } {
  const secret = new Secret({ size: 20 })
  const totp = new TOTP({ issuer, label: operator, secret, digits: 6, period: PERIOD_SECONDS })
  return { secret: secret.base32, uri: totp.toString() }
}

function refused(): SallyportError {
  return new SallyportError('SP_API_LOGIN', 'the code was not accepted', {
    fix: 'ask another operator to confirm your recovery in the console, then use the next code within minutes',
  })
}
