import { ApiError } from '../api/client.ts'
import { sentence } from '../ui/parts.tsx'
import { CeremonyError } from './ceremony.ts'

/** Says what went wrong with a passkey, without pretending to know what the browser does not tell. */
export function passkeyFailure(error: unknown): string {
  if (error instanceof ApiError) {
    return `${sentence(error.message)} (${error.code})${error.fix === undefined ? '' : ` ${error.fix}`}`
  }
  if (error instanceof CeremonyError) return sentence(error.message)
  const name = causeName(error)
  switch (name) {
    case 'NotAllowedError':
      return 'The passkey was not used: the prompt was closed, timed out, or no passkey of this console is on this device.'
    case 'InvalidStateError':
      return 'This authenticator already holds a passkey for this operator. Sign in with it.'
    case 'SecurityError':
      return `Passkeys need the address they were enrolled at. This page is at ${location.origin}; open the console at the address printed by \`sallyport up\`.`
    case 'AbortError':
      return 'The passkey prompt was interrupted. Try again.'
    default:
      return error instanceof Error && error.message !== ''
        ? `The passkey could not be used: ${error.message}`
        : 'The passkey could not be used.'
  }
}

/** `@simplewebauthn/browser` wraps the DOMException that says what happened. */
function causeName(error: unknown): string {
  if (!(error instanceof Error)) return ''
  return error.cause instanceof Error ? error.cause.name : error.name
}
