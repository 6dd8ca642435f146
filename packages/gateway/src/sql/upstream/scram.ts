import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

const derive = promisify(pbkdf2)
/** A server that asks for more work than this is not one to trust with it. */
const MAX_ITERATIONS = 1_000_000

export interface ScramExchange {
  readonly first: string
  /** @throws Error where the server's message is not one, or not an answer to ours */
  final(serverFirst: string): Promise<string>
  /** Whether the server knows the password too. */
  verify(serverFinal: string): boolean
}

/**
 * The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding: the connection's certificate is
 * verified already.
 *
 * @param password printable ASCII, which SASLprep leaves as it is
 */
export function scram(password: string): ScramExchange {
  const nonce = randomBytes(18).toString('base64')
  const bare = `n=,r=${nonce}`
  let expected: Buffer | undefined
  return {
    first: `n,,${bare}`,
    async final(serverFirst) {
      const [, combined = '', salt = '', count = ''] =
        /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=([1-9]\d{0,6})$/.exec(serverFirst) ?? []
      const iterations = Number(count)
      const salting = Buffer.from(salt, 'base64')
      // Of many texts that Node makes bytes of, one is base64 of them.
      const isSalt = salting.length > 0 && salting.toString('base64') === salt
      const isOurs = combined.startsWith(nonce) && combined !== nonce
      if (!isSalt || !isOurs || iterations > MAX_ITERATIONS) {
        throw new Error('the server’s challenge is not one')
      }
      const salted = await derive(password, salting, iterations, 32, 'sha256')
      const clientKey = hmac(salted, 'Client Key')
      const withoutProof = `c=biws,r=${combined}`
      const message = `${bare},${serverFirst},${withoutProof}`
      const signature = hmac(createHash('sha256').update(clientKey).digest(), message)
      const proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0)))
      expected = hmac(hmac(salted, 'Server Key'), message)
      return `${withoutProof},p=${proof.toString('base64')}`
    },
    verify(serverFinal) {
      if (!expected) return false
      const [given, right] = [
        Buffer.from(serverFinal),
        Buffer.from(`v=${expected.toString('base64')}`),
      ]
      return given.length === right.length && timingSafeEqual(given, right)
    },
  }
}

const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()
