import { requestHash, requestHashOf } from '@sallyport/wire'
import type { UpstreamRequest } from '../calls/types.ts'

/** Of requests that are being made: the log commits to each, and its call token then says the same. */
const hashes = new WeakMap<UpstreamRequest, string>()

/** SHA-256, hex, of what is forwarded. Nobody changes a request that was made. */
export function hashOf(request: UpstreamRequest): string {
  let hash = hashes.get(request)
  if (hash === undefined) {
    const { method, path, body, raw } = request
    hash = raw
      ? requestHashOf(method, path, raw.sha256 ?? UNSTATED)
      : requestHash(method, path, body ?? NO_BODY)
    hashes.set(request, hash)
  }
  return hash
}

/** No digest is spelled so. */
const UNSTATED = 'unstated'
const NO_BODY = new Uint8Array()
