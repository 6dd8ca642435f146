import { clearOperator, sessionNow } from './session.ts'

/** A refused or failed call, in the server's words. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number
  readonly code: string
  readonly fix: string | undefined

  constructor(status: number, code: string, message: string, fix?: string) {
    super(message)
    this.status = status
    this.code = code
    this.fix = fix
  }
}

/**
 * Reads `/api/PATH`. The answer's shape is the server's: both ship in one version, from one repository, so `T` is not
 * checked again here.
 *
 * @throws ApiError
 */
export async function get<T>(path: string): Promise<T> {
  return send<T>(path, { method: 'GET' })
}

/** Posts JSON with the session's CSRF token. @throws ApiError */
export async function post<T>(path: string, body: unknown = {}): Promise<T> {
  return send<T>(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-sallyport-csrf': sessionNow()?.csrf ?? '' },
    body: JSON.stringify(body),
  })
}

async function send<T>(
  path: string,
  init: { method: string; headers?: Readonly<Record<string, string>>; body?: string },
): Promise<T> {
  let response: Response
  try {
    response = await fetch(`/api${path}`, {
      ...init,
      credentials: 'same-origin',
      // Nothing that is read here belongs on a disk; and a browser that may keep it has the next reader wait for the first.
      cache: 'no-store',
      headers: { accept: 'application/json', ...init.headers },
    })
  } catch {
    throw new ApiError(
      0,
      'SP_UNREACHABLE',
      'the control plane does not answer',
      'Check that `sallyport up` is running on this machine.',
    )
  }
  const text = await response.text()
  let body: unknown
  try {
    body = text === '' ? undefined : JSON.parse(text)
  } catch {
    body = undefined
  }
  if (!response.ok) {
    if (response.status === 401 && !path.startsWith('/auth/')) clearOperator()
    throw problem(response.status, body)
  }
  // See above: one version of server and client.
  return body as T
}

function problem(status: number, body: unknown): ApiError {
  const member = (name: string): string | undefined => {
    if (typeof body !== 'object' || body === null) return undefined
    const value: unknown = Reflect.get(body, name)
    return typeof value === 'string' ? value : undefined
  }
  return new ApiError(
    status,
    member('code') ?? 'SP_HTTP',
    member('detail') ?? member('title') ?? `the server answered ${status}`,
    member('fix'),
  )
}
