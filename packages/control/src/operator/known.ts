import { sha256Hex } from '@sallyport/base'

const MAX_KNOWN = 10_000

/** Cookies that were a session when this process last looked, by their hash; the memory of them is bounded. */
export class KnownSessions {
  /** In order of use. */
  readonly #hashes = new Set<string>()

  has(secret: string): boolean {
    return this.#hashes.has(sha256Hex(secret))
  }

  meet(secret: string): void {
    const hash = sha256Hex(secret)
    this.#hashes.delete(hash)
    this.#hashes.add(hash)
    if (this.#hashes.size <= MAX_KNOWN) return
    const [oldest = ''] = this.#hashes
    this.#hashes.delete(oldest)
  }

  forget(secret: string): void {
    this.#hashes.delete(sha256Hex(secret))
  }
}
