import { post } from '../api/client.ts'

const KEPT = 'sallyport.oidc'

/** Of a sign-in that goes on at an identity provider. */
interface Begun {
  readonly provider: string
  readonly key: string
}

/** Goes to the identity provider. What makes its answer good stays in this window. */
export async function signInAt(provider: string): Promise<void> {
  const { url, key } = await post<{ url: string; key: string }>('/auth/oidc/begin', { provider })
  sessionStorage.setItem(KEPT, JSON.stringify({ provider, key }))
  location.assign(url)
}

export function begunHere(): Begun | undefined {
  const kept = sessionStorage.getItem(KEPT)
  // `signInAt` wrote it; the server checks what is in it.
  return kept === null ? undefined : (JSON.parse(kept) as Begun)
}

export function forgetBegun(): void {
  sessionStorage.removeItem(KEPT)
}
