import { startAuthentication } from '@simplewebauthn/browser'
import type { PublicKeyCredentialRequestOptionsJSON } from '@simplewebauthn/browser'
import { post } from '../api/client.ts'

/**
 * Shows with the passkey that it is oneself who does one certain thing: `PATH/options` fixes what, `submit` does it.
 *
 * @throws ApiError, and what the browser throws
 */
export async function withPasskey<R>(
  paths: { readonly options: string; readonly submit: string },
  ask: object,
): Promise<R> {
  const optionsJSON = await post<PublicKeyCredentialRequestOptionsJSON>(paths.options, ask)
  const response = await startAuthentication({ optionsJSON })
  return post<R>(paths.submit, { ...ask, response })
}
