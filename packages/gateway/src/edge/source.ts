/** As `realAddress`, at a port that takes no frames: a balancer's address is not where a caller is, either. */
export const directSource = (
  address: string | undefined,
  isBalancer: (address: string | undefined) => boolean,
): string | undefined => (isBalancer(address) ? undefined : realAddress(address))

/** A loopback address says only that something on this machine relays: not where a caller is. */
export function realAddress(address: string | undefined): string | undefined {
  if (address === undefined || address === '') return undefined
  return /^(?:::ffff:)?127\.|^::1$/i.test(address) ? undefined : address
}
