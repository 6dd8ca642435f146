/**
 * The URI of a system as tokens name it (RFC 8707, section 2), the same through every gateway of the network.
 *
 * @param system its declared name
 */
export function systemUri(trustDomain: string, system: string): string {
  return `https://gateway.${trustDomain}/${system}`
}

/** The name in a system's URI; undefined for every other text. */
export function systemOf(trustDomain: string, uri: string): string | undefined {
  const prefix = `https://gateway.${trustDomain}/`
  const name = uri.startsWith(prefix) ? uri.slice(prefix.length) : ''
  return /^[A-Za-z0-9._-]{1,128}$/.test(name) ? name : undefined
}

/** Where the protected-resource metadata of a system is found (RFC 9728, section 3.1). */
export function resourceMetadataUri(trustDomain: string, system: string): string {
  return `https://gateway.${trustDomain}/.well-known/oauth-protected-resource/${system}`
}
