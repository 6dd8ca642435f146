/**
 * Strict base64url without padding (RFC 4648 section 5): exactly one text for each byte string, so that
 * a signature or a key cannot be respelled.
 *
 * @returns undefined for anything else
 */
export function fromBase64url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}
