import { startAuthentication } from '@simplewebauthn/browser'
import { post } from '../api/client.ts'
import type { StatementOptions } from '../api/types.ts'

/**
 * A signing ceremony: fetches the statement, has `check` compare it with what the page shows, signs it with the passkey and sends
 * it back.
 *
 * @param paths where the options come from, and where the signature goes
 * @param ask what the options are asked with; `extra` goes along with the signature
 * @throws ApiError, CeremonyError, and what the browser throws
 */
export async function signStatement<S, R>(
  paths: { readonly options: string; readonly submit: string },
  ask: unknown,
  check: (offered: StatementOptions<S>) => Promise<void>,
  extra: object = {},
): Promise<R> {
  const offered = await post<StatementOptions<S>>(paths.options, ask)
  await check(offered)
  const response = await startAuthentication({ optionsJSON: offered.options })
  return post<R>(paths.submit, { ...extra, statement: offered.statement, response })
}
