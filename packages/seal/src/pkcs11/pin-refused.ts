import { SallyportError } from '@sallyport/base'
import { CKF, CKR } from './constants.ts'

const PIN_PROBLEMS: Readonly<Record<number, string>> = {
  [CKR.pinIncorrect]: 'the PIN is wrong',
  [CKR.pinInvalid]: 'the PIN has letters that no PIN has',
  [CKR.pinLenRange]: 'the PIN is too short or too long',
  [CKR.pinExpired]: 'the PIN is expired',
  [CKR.pinLocked]: 'the PIN is locked',
  [CKR.userPinNotInitialized]: 'the token has no user PIN yet',
}

/** Whether a return value of C_Login is about the PIN. */
export const isPinProblem = (value: number): boolean => value in PIN_PROBLEMS

/** What a refused login means, and how many tries the token says are left. */
export function pinRefused(
  label: string,
  flags: number,
  value: number | undefined,
): SallyportError {
  const locked = (flags & CKF.userPinLocked) !== 0 || value === CKR.pinLocked
  const final = (flags & CKF.userPinFinalTry) !== 0
  const low = (flags & CKF.userPinCountLow) !== 0
  const why = value === undefined ? 'the PIN was not tried' : PIN_PROBLEMS[value]
  const left = locked
    ? 'the token is locked'
    : final
      ? 'one more wrong try locks the token'
      : low
        ? 'wrong tries were counted since the last login, and too many lock the token'
        : 'the token does not say how many tries are left'
  return new SallyportError('SP_HSM_PIN', `the token \`${label}\` does not let us in`, {
    detail: `${why ?? 'the PIN is refused'}; ${left}`,
    fix: locked
      ? 'let the security officer of the token set a new PIN, then restart'
      : 'correct the PIN file or SALLYPORT_PKCS11_PIN, log in once by hand to reset the count, then restart: it is not tried again by itself',
  })
}
